"""Report of `regionspot bench app`, as JSON and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rich.table import Table

from regionspot_bench.benchmark import Benchmark
from regionspot_bench.measure import Requirement, at_most
from regionspot_core.support.tables import titled_table


@dataclass(frozen=True, kw_only=True)
class ModelFigures:
    """Times of one pair of models."""

    encode_ms: float
    """Median milliseconds from a picture's file to its id."""
    prompt_ms: float
    """Median milliseconds from a box to its names, on an encoded picture."""
    requests_per_second: float
    """Such answers a second, where several tabs ask at once."""
    most_ms: float
    """Bound of ``prompt_ms``."""


@dataclass(frozen=True, kw_only=True)
class AppBenchReport(Benchmark):
    """The figures of a whole run."""

    figures_of: Mapping[str, ModelFigures]
    """By the models' names."""
    quick: bool

    @property
    def requirements(self) -> list[Requirement]:
        """All bounds, in the order they are shown."""
        return [
            at_most(f"from a box to names, {name}", each.prompt_ms, each.most_ms, unit="ms")
            for name, each in self.figures_of.items()
        ]

    @property
    def figures(self) -> dict[str, object]:
        """All figures by the keys of the JSON."""
        return {
            f"{figure}_{name}": value
            for name, each in self.figures_of.items()
            for figure, value in (
                ("prompt_ms", each.prompt_ms),
                ("encode_ms", each.encode_ms),
                ("requests_per_second", each.requests_per_second),
            )
        }

    def figure_tables(self) -> list[Table]:
        """Return the figures for people, at 80 columns."""
        table = titled_table(
            "The app's answers", "models", ("encode, ms", "box to names, ms", "names a second")
        )
        for name, each in self.figures_of.items():
            table.add_row(
                name,
                f"{each.encode_ms:.0f}",
                f"{each.prompt_ms:.1f}",
                f"{each.requests_per_second:.1f}",
            )
        return [table]
