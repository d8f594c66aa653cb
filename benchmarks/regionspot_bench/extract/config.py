"""Settings of `regionspot bench extract`, and how much it measures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from regionspot_bench.benchmark import BenchConfig
from regionspot_bench.cache.config import shapes_of
from regionspot_core.backbones.precision import Precision
from regionspot_core.cache.layout.keep import RegionEmbedding
from regionspot_core.support.options import Flag
from regionspot_extract.config import MOST_BATCH_IMAGES, MOST_WORKERS


@dataclass(frozen=True)
class Shape:
    """A pair of architectures."""

    name: str
    sam: str
    clip: str
    gmacs: float | None
    """Billions of products of both image encoders for an image, by the papers; None where nobody
    has. The mask decoder's are left out: they are few."""


SHAPES = {
    "B/16": Shape("B/16", "vit_b", "ViT-B-16-quickgelu", 486 + 17.6),
    "L/14@336": Shape("L/14@336", "vit_b", "ViT-L-14-336-quickgelu", 486 + 191),
    # For tests of the benchmark itself; its ratios say nothing.
    "tiny": Shape("tiny", "tiny", "tiny", None),
}
MAIN_REGIONS = 10
"""Regions of an image for which a ratio is required."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Amounts to measure."""

    regions: tuple[int, ...]
    """Numbers of regions of an image, a measurement each."""
    loop_images: int
    """Images that the loops encode."""
    images: int
    """Images that an extraction encodes; the loops' are the first of them."""
    rounds: int = 2
    """Extractions of each kind of region embedding, in turns."""
    batch: int
    warm_up: int
    """Images each way before its time counts."""


FULL = (1, MAIN_REGIONS, 50)
CPU = Sizes(regions=FULL, loop_images=2, images=2, batch=1, warm_up=1)
# Without warming up: on a CPU it makes 2 % and would take half of the time.
QUICK_CPU = Sizes(regions=(MAIN_REGIONS,), loop_images=1, images=1, batch=1, warm_up=0)
GPU = Sizes(regions=FULL, loop_images=64, images=1_024, batch=16, warm_up=32)
QUICK_GPU = Sizes(regions=(MAIN_REGIONS,), loop_images=16, images=256, batch=16, warm_up=16)


class ExtractBenchConfig(BenchConfig):
    """Extract generated images beside a loop of segment-anything and open_clip.

    The loop takes one image at a time, in float32 and under autocast; the
    models have random weights. --quick measures B/16 at ten regions. The exit
    code is 1 where what is required is not met, a token that differs from the
    loop's for one.
    """

    shape: Annotated[Literal["B/16", "L/14@336", "both", "tiny"], Flag(metavar="NAME")] = "both"
    """Models: SAM-B with CLIP B/16, with L/14@336, or both."""
    device: Annotated[str, Flag(metavar="NAME")] = "auto"
    """Device that computes: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`."""
    precision: Annotated[Precision, Flag(metavar="TYPE")] = "bfloat16"
    """Arithmetic of extraction, and of the loop's autocast."""
    compile: Annotated[bool, Flag()] = False
    """Compile extraction's image encoders; it warms up until they are compiled."""
    batch: Annotated[int | None, Flag(default="1 on a CPU, else 16")] = Field(
        default=None, ge=1, le=MOST_BATCH_IMAGES
    )
    """Images that extraction takes together."""
    images: Annotated[int | None, Flag(default="2 on a CPU, else 1,024; --quick 1 and 256")] = (
        Field(default=None, ge=1, le=1_000_000)
    )
    """Generated images that are extracted, twice with each kind of region embedding."""
    workers: Annotated[int, Flag()] = Field(default=4, ge=1, le=MOST_WORKERS)
    """Threads that decode and resize images."""

    @property
    def shapes(self) -> tuple[str, ...]:
        """Names of the pairs of models to measure."""
        return shapes_of(self.shape, quick=self.quick)

    @property
    def embeddings(self) -> tuple[RegionEmbedding, ...]:
        """Region embeddings that are timed in turns; the usual ones come first."""
        return ("auto", "none") if self.quick else ("auto", "none", "crop")

    def sizes(self, device_type: str) -> Sizes:
        """Return how much to measure on such a device."""
        from regionspot_core.support.compiling import BATCHES_TO_COMPILE

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
