"""Box average precision of every ODinW set, and the means, as JSON and as a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich.table import Table

from regionspot_core import __version__
from regionspot_core.scoring.plan import COCO
from regionspot_core.support.tables import counted
from regionspot_evaluate.odinw.sets import BENCHMARKS, OdinwSet, missing_sets
from regionspot_evaluate.recognition.baselines.names import baseline_label
from regionspot_evaluate.reports.printing import EvaluationReport
from regionspot_evaluate.scoring.figures import PROTOCOL_TITLES
from regionspot_evaluate.scoring.report import metrics_table, percent

_SHOWN = 4
"""Missing sets that a line names."""


@dataclass(frozen=True)
class OdinwReport:
    """Reports of every set and head."""

    split: str
    sets: list[OdinwSet]
    reports: dict[str, dict[str, EvaluationReport]]
    """Reports by set, and then by head."""

    @property
    def failed(self) -> list[str]:
        """Return the images that could not be read, each with the reason."""
        return [line for of_set in self.reports.values() for line in _first(of_set).failed]

    def precision(self) -> dict[str, dict[str, float | None]]:
        """Return box AP by row (a head, or a baseline) and then by set."""
        found: dict[str, dict[str, float | None]] = {}
        for name, of_heads in self.reports.items():
            rows = {head: report.head for head, report in of_heads.items()}
            baselines = _first(of_heads).baselines
            rows |= {baseline_label(each): figures for each, figures in baselines.items()}
            for row, figures in rows.items():
                found.setdefault(row, {})[name] = figures.scores[COCO]["bbox"]["AP"]
        return found

    def means(self, precision: dict[str, float | None]) -> dict[str, float | None]:
        """Return the mean over all sets found, and over each benchmark whose sets are all there."""
        wanted = {"all": tuple(precision), **BENCHMARKS}
        return {
            title: _mean([precision.get(name) for name in names]) for title, names in wanted.items()
        }

    def to_json(self) -> dict[str, Any]:
        """Return plain values; figures are shares of 1, null where not measurable."""
        precision = self.precision()
        return {
            "protocol": PROTOCOL_TITLES[COCO],
            "split": self.split,
            "AP": precision,
            "mean": {row: self.means(of_sets) for row, of_sets in precision.items()},
            "missing": {title: missing_sets(self.sets, title) for title in BENCHMARKS},
            "version": __version__,
        }

    def table(self) -> Table:
        """Return a table with a row a set and the means, a column a head."""
        precision = self.precision()
        table = metrics_table(f"Box AP × 100, {PROTOCOL_TITLES[COCO]}", list(precision))
        for each in self.sets:
            table.add_row(each.name, *(percent(of[each.name]) for of in precision.values()))
        means = [self.means(of_sets) for of_sets in precision.values()]
        labels = {"all": f"mean of {counted(len(self.sets), 'set')}"}
        for title in means[0]:
            label = labels.get(title, f"mean of {title}")
            table.add_row(label, *(percent(mean[title]) for mean in means))
        return table

    def remarks(self) -> list[str]:
        """Return remarks on the table, a line each."""
        lines = []
        for title in BENCHMARKS:
            missing = missing_sets(self.sets, title)
            if missing:
                more = ", …" if len(missing) > _SHOWN else ""
                lines.append(
                    f"{title}: {len(missing)} of its {counted(len(BENCHMARKS[title]), 'set')} not "
                    f"found: {', '.join(missing[:_SHOWN])}{more}"
                )
        if self.failed:
            count = counted(len(self.failed), "image")
            lines.append(f"{count} could not be read, first: {self.failed[0]}")
        return lines


def _first(of_heads: dict[str, EvaluationReport]) -> EvaluationReport:
    return next(iter(of_heads.values()))


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None
