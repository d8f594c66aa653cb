"""Settings of `regionspot bench app`, and how much it measures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from regionspot_bench.benchmark import BenchConfig
from regionspot_bench.extract.config import SHAPES, Shape
from regionspot_core.support.options import Flag


@dataclass(frozen=True, kw_only=True)
class Model:
    """A pair of architectures, and the bound that an answer must keep."""

    shape: Shape
    most_milliseconds: float


MODELS = {
    "tiny": Model(shape=SHAPES["tiny"], most_milliseconds=40),
    "base": Model(shape=SHAPES["B/16"], most_milliseconds=300),
}
"""By the names that figures have."""
PROMPTS = {"full": 40, "quick": 8}
"""Boxes asked for, one after another; no answer is remembered."""


class AppBenchConfig(BenchConfig):
    """Ask the app's API for the names of boxes, one after another.

    Tiny models, and SAM-B with CLIP B/16 of random weights, through the HTTP
    routes without a socket. --quick measures the tiny ones alone. The exit
    code is 1 where an answer takes longer than is required on two cores.
    """

    device: Annotated[str, Flag(metavar="NAME")] = "auto"
    """Device that computes: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`."""

    @property
    def models(self) -> dict[str, Model]:
        """Models to measure, by their names."""
        return {"tiny": MODELS["tiny"]} if self.quick else MODELS

    @property
    def prompts(self) -> int:
        """Number of boxes."""
        return PROMPTS["quick" if self.quick else "full"]
