"""What a run of the benchmark is asked to measure, and how much of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from regionspot_core.backbones.runtime import Precision
from regionspot_core.config import Config
from regionspot_core.support.compiling import BATCHES_TO_COMPILE
from regionspot_extract.config import MOST_BATCH_IMAGES, MOST_WORKERS


@dataclass(frozen=True)
class Shape:
    """A pair of architectures."""

    name: str
    sam: str
    clip: str
    gmacs: float | None
    """Of both image encoders for an image, as the models' papers count them; None where nobody
    has. The mask decoder's are left out: they are few."""


SHAPES = {
    "B/16": Shape("B/16", "vit_b", "ViT-B-16-quickgelu", 486 + 17.6),
    "L/14@336": Shape("L/14@336", "vit_b", "ViT-L-14-336-quickgelu", 486 + 191),
    # For tests of the benchmark itself; its ratios say nothing.
    "tiny": Shape("tiny", "tiny", "tiny", None),
}
MAIN_REGIONS = 10
"""Of an image, where a ratio is required."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much is measured."""

    regions: tuple[int, ...]
    """Of an image, a measurement each."""
    loop_images: int
    """By the loops."""
    images: int
    """By extraction; the loops' are the first of them."""
    batch: int
    warm_up: int
    """Images each way before its time counts."""


FULL = (1, MAIN_REGIONS, 50)
CPU = Sizes(regions=FULL, loop_images=2, images=4, batch=1, warm_up=1)
# Without warming up: on a CPU it makes 2 % and would take half of the time.
QUICK_CPU = Sizes(regions=(MAIN_REGIONS,), loop_images=1, images=3, batch=1, warm_up=0)
GPU = Sizes(regions=FULL, loop_images=64, images=1_024, batch=16, warm_up=32)
QUICK_GPU = Sizes(regions=(MAIN_REGIONS,), loop_images=16, images=256, batch=16, warm_up=16)


class ExtractBenchConfig(Config):
    """One run of ``regionspot bench extract``."""

    shapes: tuple[Literal["B/16", "L/14@336", "tiny"], ...] = ("B/16", "L/14@336")
    device: str = "auto"
    precision: Precision = "bfloat16"
    """Of extraction and of the loop under autocast."""
    batch: int | None = Field(default=None, ge=1, le=MOST_BATCH_IMAGES)
    """Images that extraction takes together; None is what suits the device."""
    images: int | None = Field(default=None, ge=1, le=1_000_000)
    """By extraction; None for a number that takes minutes."""
    workers: int = Field(default=4, ge=1, le=MOST_WORKERS)
    dir: Path | None = None
    compile: bool = False
    """Whether extraction's image encoders are compiled; it warms up until they are."""
    quick: bool = False
    json_file: Path | None = None

    def sizes(self, device_type: str) -> Sizes:
        """How much to measure on such a device."""
        if device_type == "cpu":
            usual = QUICK_CPU if self.quick else CPU
        else:
            usual = QUICK_GPU if self.quick else GPU
        images = self.images or usual.images
        batch = self.batch or usual.batch
        return Sizes(
            regions=usual.regions,
            loop_images=min(usual.loop_images, images),
            images=images,
            batch=batch,
            warm_up=max(usual.warm_up, BATCHES_TO_COMPILE * batch * self.compile),
        )
