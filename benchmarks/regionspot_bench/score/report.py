"""Report of `regionspot bench score`, as JSON and as tables."""

from __future__ import annotations

from dataclasses import dataclass

from rich.table import Table

from regionspot_bench.benchmark import Benchmark
from regionspot_bench.measure import Requirement, Times, at_least, at_most
from regionspot_bench.score.config import Sizes
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
    """Peak memory before it began: Python and the libraries."""
    peak_bytes: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class ScoreBenchReport(Benchmark):
    """The figures of a whole run."""

    sizes: Sizes
    times: Times
    difference: float
    """The largest of a figure of ours from LVIS's package."""
    memory: MemoryFigures
    quick: bool

    @property
    def speedup(self) -> float:
        """Seconds of LVIS's package over ours."""
        return self.times.ratio(LVIS, FAST)

    @property
    def requirements(self) -> list[Requirement]:
        """All bounds, in the order they are shown."""
        return [
            at_least("speed, × lvis", self.speedup, 20),
            at_most("figures, from lvis's", self.difference, 1e-6),
            at_most(
                f"peak memory of {self.memory.images:,} images",
                self.memory.peak_bytes / 1024**3,
                MOST_MEMORY / 1024**3,
                unit="GiB",
            ),
        ]

    @property
    def figures(self) -> dict[str, object]:
        """All figures by the keys of the JSON."""
        sizes, memory = self.sizes, self.memory
        return {
            "images": sizes.images,
            "detections_per_image": sizes.detections,
            "classes": sizes.classes,
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

    def figure_tables(self) -> list[Table]:
        """Return the figures for people, at 80 columns."""
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
        return [facts_table(title, facts)]
