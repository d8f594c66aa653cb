"""Peak memory of training on a store, and on one with ten times as many images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regionspot_bench.child import run_children
from regionspot_bench.train.config import Sizes
from regionspot_bench.train.stores import write_store
from regionspot_core.cache.layout.keep import TokenShape

SHAPE = TokenShape(image_tokens=200, image_width=16, region_tokens=5, region_width=16, ious=4)
"""Small, so that there are many images; narrow, so that a head has little to do with them."""
REGIONS = 2
TIMES = 10
PARTS = 3
"""Parts of the smaller store; parts of the larger one are as large."""


@dataclass(frozen=True)
class Peak:
    """Peak memory of one training."""

    images: int
    data_bytes: int
    """Bytes of the store's tokens, if they were held in memory."""
    peak_bytes: int
    """Largest resident memory."""
    store_is_mapped: bool
    """Whether resident memory has pages of the store's files in it, which the system may drop."""


@dataclass(frozen=True)
class MemoryFigures:
    """The peaks of both."""

    small: Peak
    large: Peak

    @property
    def ratio(self) -> float | None:
        """The larger store's over the smaller one's; None where they are not comparable."""
        if self.small.store_is_mapped or self.large.store_is_mapped:
            return None
        return self.large.peak_bytes / self.small.peak_bytes


def measure_memory(folder: Path, sizes: Sizes, *, threads: int) -> MemoryFigures:
    """Train with as many steps on both: one pass over the larger store, ten over the smaller.

    Each in a process of its own, both at once: memory is not slower for that.
    """
    images = sizes.memory_images
    steps = TIMES * images // sizes.memory_batch
    counts = (images, TIMES * images)
    part_images = -(-images // PARTS)
    for count in counts:
        write_store(
            folder / str(count),
            SHAPE,
            images=count,
            part_images=part_images,
            text_width=16,
            regions=REGIONS,
        )
    arguments = [(folder / str(count), steps, sizes.memory_batch, threads) for count in counts]
    figures = run_children("regionspot_bench.train.memory_child", arguments)
    small, large = (_peak(each, count) for each, count in zip(figures, counts, strict=True))
    return MemoryFigures(small, large)


def _peak(figures: dict[str, Any], images: int) -> Peak:
    image_bytes = 2 * (
        SHAPE.image_tokens * SHAPE.image_width + REGIONS * SHAPE.region_tokens * SHAPE.region_width
    )
    return Peak(
        images=images,
        data_bytes=images * image_bytes,
        peak_bytes=figures["peak_bytes"],
        store_is_mapped=figures["store_is_mapped"],
    )
