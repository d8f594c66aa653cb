"""What `regionspot bench score` found, as JSON and as tables."""

from __future__ import annotations

from dataclasses import dataclass

from rich.table import Table

from regionspot_bench.measure import Requirement, Times, requirements_table
from regionspot_bench.score.config import Sizes
from regionspot_core import __version__
from regionspot_core.support.tables import facts_table, format_bytes, format_seconds

FAST, LVIS = "fast", "lvis"
"""The scorers, by the names that times have."""
MOST_MEMORY = 1024**3


@dataclass(frozen=True)
class MemoryFigures:
    """A process that scores a large file."""

    images: int
    detections: int
    file_bytes: int
    imported_bytes: int
    """Its peak before it began: Python and the libraries."""
    peak_bytes: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class ScoreBenchReport:
    """The figures of a whole run."""

    sizes: Sizes
    times: Times
    difference: float
    """The largest of a figure of ours from LVIS's package."""
    memory: MemoryFigures
    quick: bool

    @property
    def speedup(self) -> float:
        """How many times as long LVIS's package takes."""
        return self.times.ratio(LVIS, FAST)

    @property
    def requirements(self) -> list[Requirement]:
        """All that is required, in the order it is shown."""
        return [
            Requirement(what="speed, × lvis", figure=self.speedup, bound=20, least=True),
            Requirement(
                what="figures, from lvis's", figure=self.difference, bound=1e-6, least=False
            ),
            Requirement(
                what=f"peak memory of {self.memory.images:,} images",
                figure=self.memory.peak_bytes / 1024**3,
                bound=MOST_MEMORY / 1024**3,
                least=False,
                unit="GiB",
            ),
        ]

    @property
    def all_met(self) -> bool:
        """Whether nothing that is required is missed."""
        return all(each.met for each in self.requirements)

    def to_json(self) -> dict[str, object]:
        """Flat."""
        sizes, memory = self.sizes, self.memory
        return {
            "version": __version__,
            "images": sizes.images,
            "detections_per_image": sizes.detections,
            "classes": sizes.classes,
            "quick": self.quick,
            "all_met": self.all_met,
            "speedup_vs_lvis": self.speedup,
            "fast_seconds": self.times.median(FAST),
            "lvis_seconds": self.times.median(LVIS),
            "max_metric_difference": self.difference,
            "memory_images": memory.images,
            "memory_detections": memory.detections,
            "memory_file_bytes": memory.file_bytes,
            "memory_imported_bytes": memory.imported_bytes,
            "memory_peak_bytes": memory.peak_bytes,
            "memory_seconds": memory.seconds,
        }

    def tables(self) -> list[Table]:
        """For people, at 80 columns."""
        sizes, memory = self.sizes, self.memory
        facts = {
            "fast": f"{self.times.median(FAST):.3g} s from files to figures",
            "lvis": f"{self.times.median(LVIS):.3g} s",
            f"{memory.images:,} images": f"{format_bytes(memory.peak_bytes)} at the peak, "
            f"{format_bytes(memory.imported_bytes)} of it Python and libraries; "
            f"{memory.detections:,} detections, {format_bytes(memory.file_bytes)}, "
            f"in {format_seconds(memory.seconds)}",
        }
        title = (
            f"Scoring boxes of {sizes.images:,} images × {sizes.detections} detections, "
            f"{sizes.classes:,} classes"
        )
        return [facts_table(title, facts), requirements_table(self.requirements)]
