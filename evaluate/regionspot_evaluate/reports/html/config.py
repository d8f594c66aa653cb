"""Settings of `regionspot evaluate report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from regionspot_core.config import Config
from regionspot_core.imaging.limits import MAX_PIXELS, MOST_PIXELS
from regionspot_core.support.arguments import existing_images, existing_path
from regionspot_core.support.options import Flag

MOST_RUNS = 8
"""Letters and colours that a page has for runs."""


class ReportConfig(Config):
    """One report on one run, or on several side by side."""

    runs: Annotated[tuple[Path, ...], Flag(metavar="RUN …", check=existing_path, argument=True)] = (
        Field(min_length=1, max_length=MOST_RUNS)
    )
    """Folders that `evaluate run` wrote, or results files of any detector; up to eight."""
    annotations: Annotated[
        Path | None,
        Flag(metavar="FILE", check=existing_path, default="what RUN was scored on"),
    ] = None
    """Annotation file or folder; its rules follow from it, as for `run`."""
    images: Annotated[
        Path | None,
        Flag(metavar="DIR|ZIP|TAR", check=existing_images, default="RUN's, if it has them"),
    ] = None
    """Folder, zip or tar of the images; without it there are no pictures."""
    out: Annotated[Path | None, Flag(metavar="FILE", default="RUN/report.html")] = None
    """The page to write."""
    gallery: Annotated[int, Flag()] = Field(default=12, ge=0, le=60)
    """Images of each kind in the gallery: best, worst and random ones."""
    max_pixels: Annotated[int, Flag()] = Field(default=MAX_PIXELS, ge=1, le=MOST_PIXELS)
    """Largest image that is shown, in pixels."""
