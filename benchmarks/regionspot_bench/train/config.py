"""Settings of `regionspot bench train`, and how much it measures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from regionspot_bench.benchmark import BenchConfig
from regionspot_bench.cache.config import SHAPES, ShapeChoice, shapes_of
from regionspot_core.cache.layout.keep import TokenShape
from regionspot_core.support.options import Flag

REGIONS = 12
"""Regions of each image."""
CLASSES = 365
"""Objects365's, of the paper's first stage."""
TINY_CLIP = TokenShape(image_tokens=145, image_width=128, region_tokens=5, region_width=128, ious=4)
"""Tokens of the embedded world's models; demo-size heads are trained on it."""
TINY_TEXT = 128


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A CLIP that is run online."""

    architecture: str
    """The name it is built by."""
    shape: TokenShape
    text_width: int
    required: float
    """Least speed-up of a step with cached tokens."""


CLIPS = {
    "B/16": Clip(
        architecture="ViT-B-16-quickgelu", shape=SHAPES["B/16"], text_width=512, required=6
    ),
    "L/14@336": Clip(
        architecture="ViT-L-14-336-quickgelu", shape=SHAPES["L/14@336"], text_width=768, required=15
    ),
    # For tests of the benchmark itself; its ratios say nothing.
    "tiny": Clip(architecture="tiny", shape=TINY_CLIP, text_width=TINY_TEXT, required=0),
}


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Amounts to measure."""

    batch_images: int
    """Images of a step with CLIP's tokens, cached or online."""
    rounds: int
    """Turns of both, at most."""
    round_seconds: float
    """No round begins after so long: a slow machine makes fewer."""
    waiting_steps: int
    memory_images: int
    """Images of the smaller store; the larger one has ten times as many."""
    memory_batch: int
    sweep_batch: int
    sweep_steps: int
    sweep_rounds: int


FULL = Sizes(
    batch_images=16,
    rounds=5,
    round_seconds=240,
    waiting_steps=24,
    memory_images=12_000,
    memory_batch=500,
    sweep_batch=32,
    sweep_steps=12,
    sweep_rounds=3,
)
QUICK = Sizes(
    batch_images=6,
    rounds=2,
    round_seconds=7,
    waiting_steps=5,
    memory_images=3_000,
    memory_batch=500,
    sweep_batch=16,
    sweep_steps=4,
    sweep_rounds=1,
)
TINY = Sizes(
    batch_images=2,
    rounds=2,
    round_seconds=60,
    waiting_steps=2,
    memory_images=20,
    memory_batch=10,
    sweep_batch=2,
    sweep_steps=3,
    sweep_rounds=1,
)


class TrainBenchConfig(BenchConfig):
    """Train on generated caches: beside CLIP run online, in memory, in a sweep.

    CLIP is the real architecture with random weights, which costs what the
    trained one costs. All runs on the CPU. --quick measures B/16 alone. The
    exit code is 1 where a ratio that is required is not met.
    """

    shape: ShapeChoice = "both"
    precision: Annotated[Literal["float32", "bfloat16"], Flag(metavar="TYPE")] = "float32"
    """Arithmetic of CLIP and of the head alike: float32 or bfloat16."""
    threads: Annotated[int, Flag()] = Field(default=1, ge=1)
    """PyTorch's threads; reading has its own. On a shared machine several wait for each other."""

    @property
    def shapes(self) -> tuple[str, ...]:
        """Names of the CLIPs to measure."""
        return shapes_of(self.shape, quick=self.quick)

    @property
    def sizes(self) -> Sizes:
        """Amounts to measure."""
        if self.shape == "tiny":
            return TINY
        return QUICK if self.quick else FULL
