"""Report of `regionspot bench extract`, as JSON and as tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rich.table import Table

from regionspot_bench.benchmark import Benchmark
from regionspot_bench.extract.config import MAIN_REGIONS, Shape, Sizes
from regionspot_bench.measure import Requirement, at_least, at_most
from regionspot_core.cache.layout.keep import RegionEmbedding
from regionspot_core.support.tables import format_bytes, per_second, titled_table
from regionspot_extract.encoding.stages import COMPUTING, STAGES

MANY_IMAGES = 3_000_000
LEAST_AGREEMENT = 0.999
LEAST_SPEEDUP = {"cpu": 2.5, "cuda": 6.0}
"""Over the loop in float32, of the first shape at ten regions, by the device's type."""
MOST_EMBEDDING_COST = 1.10
LEAST_BUSY = 0.95
LEAST_MATRIX_SHARE = 0.45
"""Least share of a GPU's matrix rate."""


@dataclass(frozen=True, kw_only=True)
class ShapeFigures:
    """Figures of a pair of models at one number of regions. Seconds are of an image."""

    shape: Shape
    regions: int
    loop_seconds: float
    autocast_loop_seconds: float
    seconds: float
    """Extraction's, from its start to the finished store; models are loaded."""
    stages: Mapping[str, float]
    """Seconds of each stage; they overlap."""
    agreement: float
    """The least cosine of a token with the float32 loop's."""
    embedding_seconds: Mapping[RegionEmbedding, float]
    """Extraction's with other region embeddings: none, and those of crops."""
    peak_bytes: int
    """Peak memory of the process, models included."""
    device_peak_bytes: int | None
    """Peak memory of PyTorch's tensors on a CUDA device."""

    @property
    def speedup(self) -> float:
        """Over the loop in float32."""
        return self.loop_seconds / self.seconds

    @property
    def autocast_speedup(self) -> float:
        """Over the loop under autocast."""
        return self.autocast_loop_seconds / self.seconds

    @property
    def busy_share(self) -> float:
        """Share of extraction's time in which the device computes."""
        return sum(self.stages[stage] for stage in COMPUTING) / self.seconds

    @property
    def embedding_cost(self) -> float:
        """Extraction's time as a multiple of that without region embeddings."""
        return self.seconds / self.embedding_seconds["none"]

    @property
    def rate(self) -> float | None:
        """Operations a second of the image encoders' products; None where nobody counted them."""
        return None if self.shape.gmacs is None else 2e9 * self.shape.gmacs / self.seconds

    @property
    def hours(self) -> float:
        """Hours that three million images take."""
        return MANY_IMAGES * self.seconds / 3_600

    def to_json(self) -> dict[str, object]:
        """Return the figures by flat keys, but for the stages."""
        return {
            "shape": self.shape.name,
            "regions": self.regions,
            "loop_seconds_per_image": self.loop_seconds,
            "autocast_loop_seconds_per_image": self.autocast_loop_seconds,
            "seconds_per_image": self.seconds,
            "images_per_second": 1 / self.seconds,
            "hours_for_3_million_images": self.hours,
            "speedup_vs_loop": self.speedup,
            "speedup_vs_autocast_loop": self.autocast_speedup,
            "embedding_cost": self.embedding_cost,
            "embedding_seconds_per_image": dict(self.embedding_seconds),
            "busy_share": self.busy_share,
            "stage_seconds_per_image": dict(self.stages),
            "agreement": self.agreement,
            "operations_per_second": self.rate,
            "peak_bytes": self.peak_bytes,
            "device_peak_bytes": self.device_peak_bytes,
        }


@dataclass(frozen=True, kw_only=True)
class ExtractBenchReport(Benchmark):
    """The figures of a whole run."""

    device: str
    device_type: str
    precision: str
    threads: int
    sizes: Sizes
    shapes: tuple[ShapeFigures, ...]
    matrix_rate: float
    """Operations a second of large square products in ``precision``."""
    quick: bool

    @property
    def main(self) -> ShapeFigures:
        """Figures that most requirements are of: the first shape, at ten regions."""
        return next(each for each in self.shapes if each.regions == MAIN_REGIONS)

    @property
    def matrix_share(self) -> float | None:
        """Share of the device's matrix rate that the main figures reach."""
        return None if self.main.rate is None else self.main.rate / self.matrix_rate

    @property
    def requirements(self) -> list[Requirement]:
        """All bounds, in the order they are shown."""
        main, on_gpu = self.main, self.device_type == "cuda"
        what = f"{main.shape.name}, {main.regions} regions"
        bound = LEAST_SPEEDUP.get(self.device_type)
        bounds = []
        if bound is not None:
            bounds.append(at_least(f"{what}: × the loop", main.speedup, bound))
        bounds.append(
            at_least(
                "least cosine with the loop's",
                min(each.agreement for each in self.shapes),
                LEAST_AGREEMENT,
            )
        )
        bounds.append(
            at_most(
                f"{what}: × without embeddings",
                main.embedding_cost,
                MOST_EMBEDDING_COST,
            )
        )
        bounds += [
            at_least(
                f"GPU: {name}",
                figure if on_gpu else None,
                bound,
                note="not measured on a GPU",
            )
            for name, figure, bound in (
                ("busy", main.busy_share, LEAST_BUSY),
                ("of the matrix rate", self.matrix_share, LEAST_MATRIX_SHARE),
            )
        ]
        return bounds

    @property
    def figures(self) -> dict[str, object]:
        """The main figures flat, all of them in a list."""
        return {
            "device": self.device,
            "precision": self.precision,
            "threads": self.threads,
            "images": self.sizes.images,
            "loop_images": self.sizes.loop_images,
            "batch": self.sizes.batch,
            "speedup_vs_loop": self.main.speedup,
            "speedup_vs_autocast_loop": self.main.autocast_speedup,
            "busy_share": self.main.busy_share,
            "agreement": min(each.agreement for each in self.shapes),
            "embedding_cost": self.main.embedding_cost,
            "matrix_operations_per_second": self.matrix_rate,
            "matrix_share": self.matrix_share,
            "shapes": [each.to_json() for each in self.shapes],
        }

    def figure_tables(self) -> list[Table]:
        """Return the figures for people, at 80 columns."""
        return [self._speeds(), self._stages()]

    def _speeds(self) -> Table:
        threads = f", {self.threads} threads" if self.device_type == "cpu" else ""
        ratios = ("× loop", "× autocast")
        table = titled_table(
            f"Seconds an image on {self.device} in {self.precision}{threads}",
            figures=("loop", "autocast", "ours", *ratios, "busy", "cosine", "memory"),
        )
        for each in self.shapes:
            memory = each.peak_bytes if each.device_peak_bytes is None else each.device_peak_bytes
            table.add_row(
                _name(each),
                *(f"{s:.3g}" for s in (each.loop_seconds, each.autocast_loop_seconds)),
                f"{each.seconds:.3g}",
                f"{each.speedup:.2f}",
                f"{each.autocast_speedup:.2f}",
                f"{each.busy_share:.0%}",
                f"{each.agreement:.5f}",
                format_bytes(memory),
            )
        return table

    def _stages(self) -> Table:
        table = titled_table(
            "Of them, stage by stage; readers and writer work beside the models",
            figures=("read", "SAM enc", "SAM dec", "CLIP", "transfer", "write", "images/s"),
        )
        for each in self.shapes:
            seconds = (f"{each.stages[stage]:.3g}" for stage in STAGES)
            table.add_row(_name(each), *seconds, per_second(1 / each.seconds))
        return table


def _name(figures: ShapeFigures) -> str:
    return f"{figures.shape.name} {figures.regions:>2}"
