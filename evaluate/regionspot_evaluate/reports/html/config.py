"""What a report is asked to show."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from regionspot_core.config import Config
from regionspot_core.imaging.images import MAX_PIXELS, MOST_PIXELS


class ReportConfig(Config):
    """One report on one run, or on two side by side."""

    runs: tuple[Path, ...] = Field(min_length=1, max_length=2)
    """Folders of ``evaluate run``, or COCO-results files of any detector."""
    annotations: Path | None = None
    """LVIS annotation JSON; None: the one that the first run's records name."""
    images: Path | None = None
    """The folder of images; None: the one that the first run's records name. Without any the
    gallery is left out."""
    out: Path | None = None
    """The HTML file; None: ``report.html`` in the first run's folder."""
    gallery: int = Field(default=12, ge=0, le=60)
    """Images of each kind in the gallery: best, worst and random ones."""
    max_pixels: int = Field(default=MAX_PIXELS, ge=1, le=MOST_PIXELS)
    """Images of more pixels are not shown."""
