"""Settings of `evaluate tune`. Nothing heavy is imported here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from regionspot_core.cache.location import Location
from regionspot_core.config import Config
from regionspot_core.support.arguments import existing_head, existing_store
from regionspot_core.support.options import Flag
from regionspot_evaluate.config import MOST_IMAGES


class TuneConfig(Config):
    """Search for the weights by which a head's scores are joined with CLIP's."""

    cache: Annotated[Location, Flag(metavar="STORE", check=existing_store)]
    """Store of labelled regions that the head did not learn from: of other images, or the head's
    own where `train fit --split` held some out. Its embeddings of regions are CLIP's opinion. Not
    the store whose figures are reported."""
    head: Annotated[Path, Flag(metavar="HEAD", check=existing_head)]
    """Head that `train fit --hold-out-classes` trained: its held-out classes stand for all that
    are never labelled."""
    into: Annotated[
        Path | None, Flag(metavar="HEAD", check=existing_head, default="the same head")
    ] = None
    """Head that fusion.json and unknown.json are written for: one that learnt all classes by the
    same settings."""
    only: Annotated[Literal["fusion", "threshold"] | None, Flag(metavar="NAME", default="both")] = (
        None
    )
    """Write `fusion.json` alone, or the `threshold` of unknown.json: names of a head with CLIP's
    embeddings of regions inside hardly gain by a fusion after it."""
    device: Annotated[str, Flag(metavar="NAME")] = "auto"
    """Device that computes: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`."""
    batch_images: Annotated[int, Flag(name="--batch")] = Field(default=32, ge=1, le=MOST_IMAGES)
    """Images that the head takes together."""
