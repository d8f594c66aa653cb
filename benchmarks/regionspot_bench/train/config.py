"""What a run of the benchmark is asked to measure, and how much of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from regionspot_bench.cache.config import SHAPES
from regionspot_core.cache.layout.plan import TokenShape
from regionspot_core.config import Config

REGIONS = 12
"""Of each image."""
CLASSES = 365
"""Objects365's, of the paper's first stage."""
TINY_CLIP = TokenShape(image_tokens=145, image_width=128, region_tokens=5, region_width=128, ious=4)
"""What the embedded world's models give; demo-size heads are trained on it."""
TINY_TEXT = 128


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A CLIP that is run online."""

    architecture: str
    """The name it is built by."""
    shape: TokenShape
    text_width: int
    required: float
    """How many times faster a step with cached tokens must be."""


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
    """How much is measured."""

    batch_images: int
    """Of a step with CLIP's tokens, cached or online."""
    rounds: int
    """Turns of both, at most."""
    round_seconds: float
    """No round begins after so long: a slow machine makes fewer."""
    waiting_steps: int
    memory_images: int
    """Of the store that another with ten times as many is held against."""
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


class TrainBenchConfig(Config):
    """One run of ``regionspot bench train``."""

    shape: Literal["B/16", "L/14@336", "both", "tiny"]
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of CLIP and of the head alike."""
    threads: int = Field(default=1, ge=1)
    """Of PyTorch. Where others have the machine too, several wait for each other most of the time;
    reading has a thread of its own."""
    dir: Path | None = None
    quick: bool = False
    json_file: Path | None = None

    @property
    def shapes(self) -> tuple[str, ...]:
        """The names of the CLIPs to measure."""
        return ("B/16", "L/14@336") if self.shape == "both" else (self.shape,)

    @property
    def sizes(self) -> Sizes:
        """How much to measure."""
        if self.shape == "tiny":
            return TINY
        return QUICK if self.quick else FULL
