"""What a benchmark is asked to measure."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from regionspot_core.cache.layout.plan import TokenShape
from regionspot_core.config import Config

BATCH_IMAGES = 32
SHAPES = {
    "B/16": TokenShape(
        image_tokens=197, image_width=768, region_tokens=5, region_width=256, ious=4
    ),
    "L/14@336": TokenShape(
        image_tokens=577, image_width=1024, region_tokens=5, region_width=256, ious=4
    ),
    # For tests of the benchmark itself; its ratios say nothing.
    "tiny": TokenShape(image_tokens=5, image_width=16, region_tokens=3, region_width=8, ious=2),
}
IMAGES = {"B/16": 1_536, "L/14@336": 512, "tiny": 64}
QUICK_IMAGES = {"B/16": 320, "L/14@336": 128, "tiny": 64}


class CacheBenchConfig(Config):
    """One run of ``regionspot bench cache``."""

    shape: Literal["B/16", "L/14@336", "both", "tiny"]
    images: int | None = Field(default=None, ge=BATCH_IMAGES, le=1_000_000)
    """None for a number that takes a few minutes, or with ``quick`` less than one."""
    regions: int = Field(default=10, ge=1, le=1_000)
    """Of each image."""
    dir: Path | None = None
    quick: bool = False
    json_file: Path | None = None
    open_parts: int = Field(default=10_000, ge=1, le=1_000_000)
    """Parts of the store that is only opened."""

    @property
    def shapes(self) -> tuple[str, ...]:
        """The names of the shapes to measure."""
        return ("B/16", "L/14@336") if self.shape == "both" else (self.shape,)

    @property
    def rounds(self) -> int:
        """How often each thing that is compared has its turn."""
        return 5 if self.quick else 11

    @property
    def cold_rounds(self) -> int:
        """The same where the disk is waited for."""
        return 3 if self.quick else 7

    def images_of(self, shape: str) -> int:
        """How many images are generated."""
        return self.images or (QUICK_IMAGES if self.quick else IMAGES)[shape]
