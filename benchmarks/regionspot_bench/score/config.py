"""Settings of `regionspot bench score`, and how much it measures."""

from __future__ import annotations

from dataclasses import dataclass

from regionspot_bench.benchmark import BenchConfig


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Amounts to measure."""

    images: int
    """Scored by both, boxes, for the speed."""
    mask_images: int
    """Scored by both, boxes and masks, by both protocols, for the figures."""
    memory_images: int
    detections: int = 300
    """Detections of each image."""
    classes: int = 1_203
    """LVIS v1's."""
    repeats: int = 3
    """Repetitions of the fast scorer; LVIS's own has one turn."""


FULL = Sizes(images=1_000, mask_images=100, memory_images=20_000)
QUICK = Sizes(images=700, mask_images=25, memory_images=5_000)


class ScoreBenchConfig(BenchConfig):
    """Score generated files beside LVIS's own package, and measure the memory.

    From files to figures on both sides. The exit code is 1 where what is
    required is not met.
    """

    @property
    def sizes(self) -> Sizes:
        """Amounts to measure."""
        return QUICK if self.quick else FULL
