"""What `regionspot evaluate compare` is asked to do."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from regionspot_core.config import Config
from regionspot_evaluate.scoring.config import Ious
from regionspot_evaluate.scoring.figures import Protocol


class CompareConfig(Config):
    """One table of several detectors on one annotation file."""

    runs: tuple[str, ...] = Field(min_length=1)
    """``PATH`` or ``NAME=PATH``: folders of ``evaluate run`` or ``evaluate cached``, or results
    files of any detector."""
    annotations: Path
    iou: Ious = ("bbox",)
    protocol: Protocol = "standard"
    bootstrap: int = Field(default=200, ge=0, le=5_000)
    """How many halves of the images are drawn for the intervals; 0: no intervals."""
    seed: int = Field(default=0, ge=0)
    """Of the draws."""
    published: bool = False
    """Whether papers' figures stand beside them, of the same images by the same protocol."""
    json_file: Path | None = None
