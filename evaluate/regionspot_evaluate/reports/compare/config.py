"""Settings of `regionspot evaluate compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from regionspot_core.config import Config
from regionspot_core.support.arguments import existing_path
from regionspot_core.support.options import Flag
from regionspot_evaluate.scoring.config import IousOption, JsonFile, PlannedProtocol


class CompareConfig(Config):
    """One table of several detectors on one annotation file."""

    runs: Annotated[tuple[str, ...], Flag(metavar="RUN", argument=True)] = Field(min_length=1)
    """Folders that `evaluate run` or `evaluate cached` wrote, or results files of any detector;
    NAME=PATH names the row."""
    annotations: Annotated[Path, Flag(metavar="FILE", check=existing_path)]
    """Annotation file or folder; its rules follow from it, as for `run`."""
    iou: IousOption = ("bbox",)
    protocol: PlannedProtocol = None
    bootstrap: Annotated[int, Flag()] = Field(default=200, ge=0, le=5_000)
    """Draws of half of the images for 95 % intervals; 0: none."""
    seed: Annotated[int, Flag()] = Field(default=0, ge=0)
    """Seed of these draws."""
    published: Annotated[bool, Flag()] = False
    """Show papers' figures beside them, on LVIS v1 val or minival."""
    json_file: JsonFile = None
