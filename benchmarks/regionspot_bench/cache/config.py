"""Settings of `regionspot bench cache`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from regionspot_bench.benchmark import BenchConfig
from regionspot_core.cache.layout.keep import TokenShape
from regionspot_core.support.options import Flag

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
ShapeChoice = Annotated[
    Literal["B/16", "L/14@336", "both", "tiny"],
    Flag(metavar="NAME"),
    Field(description="CLIP whose tokens are measured: B/16 (197 × 768), L/14@336, or both."),
]
QUICK_IMAGES = {"B/16": 320, "L/14@336": 128, "tiny": 64}


def shapes_of(choice: str, *, quick: bool) -> tuple[str, ...]:
    """Return the names of the shapes to measure; of both the first alone where it must be quick."""
    if choice != "both":
        return (choice,)
    return ("B/16",) if quick else ("B/16", "L/14@336")


class CacheBenchConfig(BenchConfig):
    """Read and write a generated cache beside NumPy, torch.load, zarr-python and h5py.

    Readers deliver the same arrays and take turns, so that other work on the
    machine slows all of them alike. --quick measures B/16 alone. The exit code
    is 1 where a ratio that is required is not met.
    """

    shape: ShapeChoice = "both"
    images: Annotated[
        int | None, Flag(default="1,536 of B/16, 512 of L/14@336; --quick 320 and 128")
    ] = Field(default=None, ge=BATCH_IMAGES, le=1_000_000)
    """Images of the generated stores."""
    regions: Annotated[int, Flag()] = Field(default=10, ge=1, le=1_000)
    """Regions of each image."""
    open_parts: Annotated[int, Flag(hidden=True)] = Field(default=10_000, ge=1, le=1_000_000)
    """Parts of the store that is only opened."""

    @property
    def shapes(self) -> tuple[str, ...]:
        """Names of the shapes to measure."""
        return shapes_of(self.shape, quick=self.quick)

    @property
    def rounds(self) -> int:
        """Number of turns of each thing that is compared."""
        return 5 if self.quick else 11

    @property
    def cold_rounds(self) -> int:
        """The same where the disk is waited for."""
        return 3 if self.quick else 7

    def images_of(self, shape: str) -> int:
        """Return the number of images to generate."""
        return self.images or (QUICK_IMAGES if self.quick else IMAGES)[shape]
