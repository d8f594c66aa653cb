"""What a run of the benchmark is asked to measure, and how much of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from regionspot_core.config import Config


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much is measured."""

    images: int
    """Scored by both, boxes, for the speed."""
    mask_images: int
    """Scored by both, boxes and masks, by both protocols, for the figures."""
    memory_images: int
    detections: int = 300
    """Of each image."""
    classes: int = 1_203
    """LVIS v1's."""
    repeats: int = 3
    """Of the fast scorer; LVIS's own has one turn."""


FULL = Sizes(images=1_000, mask_images=100, memory_images=20_000)
QUICK = Sizes(images=700, mask_images=25, memory_images=5_000)


class ScoreBenchConfig(Config):
    """One run of ``regionspot bench score``."""

    dir: Path | None = None
    quick: bool = False
    json_file: Path | None = None

    @property
    def sizes(self) -> Sizes:
        """How much to measure."""
        return QUICK if self.quick else FULL
