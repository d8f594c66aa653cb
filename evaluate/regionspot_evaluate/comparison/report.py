"""Rows of several detectors as tables and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from regionspot_core import __version__
from regionspot_core.lvis_scoring import METRICS
from regionspot_core.tables import counted
from regionspot_evaluate.comparison.config import CompareConfig
from regionspot_evaluate.comparison.published import Published
from regionspot_evaluate.comparison.resampling import interval
from regionspot_evaluate.scoring.figures import SCORERS, SHOWN, Iou, Score, one_protocol
from regionspot_evaluate.scoring.report import metrics_table, percent

Draws = dict[str, NDArray[np.float64]]
"""Every figure in each draw of images."""
INTERVALS = (("AP", "AP50", "AP75", "AR"), ("APs", "APm", "APl", "APr", "APc", "APf"))
"""Which intervals stand in one table: ten do not fit."""
DIFFERENCES = ("AP", "APr", "APc", "APf")
KINDS: dict[Iou, str] = {"bbox": "Box", "segm": "Mask"}


@dataclass(frozen=True)
class Row:
    """One results file."""

    path: Path
    scores: dict[Iou, Score]
    draws: dict[Iou, Draws]
    """Empty where there are no intervals."""


@dataclass(frozen=True)
class CompareReport:
    """All rows by their names, by one protocol."""

    config: CompareConfig
    rows: dict[str, Row]
    published: tuple[Published, ...] = ()

    @property
    def protocol(self) -> str:
        """In words; one for all rows."""
        return one_protocol(score for row in self.rows.values() for score in row.scores.values())

    def to_json(self) -> dict[str, Any]:
        """Figures are shares of 1, null where there is nothing to measure on."""
        return {
            "protocol": self.protocol,
            "annotations": str(self.config.annotations),
            "bootstrap": {"draws": self.config.bootstrap, "seed": self.config.seed, "level": 0.95},
            "rows": {
                name: {
                    "detections": str(row.path),
                    **{iou: self._figures(name, iou) for iou in self.config.iou},
                }
                for name, row in self.rows.items()
            },
            "published": (
                {
                    each.name: {"source": each.source, "figures": each.figures}
                    for each in self.published
                }
                if self.published
                else None
            ),
            "version": __version__,
        }

    def tables(self) -> list[Table]:
        """For people, at 80 columns: figures, then intervals, then differences."""
        tables = []
        for iou in self.config.iou:
            tables.append(self._figures_table(iou))
            drawn = {name: row.draws[iou] for name, row in self.rows.items() if iou in row.draws}
            if drawn:
                tables += [_intervals_table(iou, names, drawn) for names in INTERVALS]
            if len(drawn) > 1:
                tables.append(_differences_table(iou, drawn))
        return tables

    def remarks(self) -> list[str]:
        """What a reader of the tables should know, a line each."""
        lines = []
        if any(row.draws for row in self.rows.values()):
            lines.append(
                f"intervals: the middle 95 % over {counted(self.config.bootstrap, 'draw')} of the "
                f"images with replacement"
            )
        lines += [
            f"published: {source}" for source in dict.fromkeys(p.source for p in self.published)
        ]
        for name, row in self.rows.items():
            why = next((s.fallback for s in row.scores.values() if s.fallback), None)
            if why:
                without = ", without intervals" if self.config.bootstrap else ""
                lines.append(f"{name}: scored by lvis{without}: {why}")
        return lines

    def _figures(self, name: str, iou: Iou) -> dict[str, Any]:
        row, first = self.rows[name], next(iter(self.rows.values()))
        found = row.scores[iou].to_json()
        found["intervals"] = found["difference_from_first"] = None
        if iou in row.draws:
            found["intervals"] = {key: interval(row.draws[iou][key]) for key in METRICS}
            if row is not first and iou in first.draws:
                found["difference_from_first"] = {
                    key: interval(row.draws[iou][key] - first.draws[iou][key]) for key in METRICS
                }
        return found

    def _figures_table(self, iou: Iou) -> Table:
        scores = {name: row.scores[iou] for name, row in self.rows.items()}
        scorers = " and ".join(dict.fromkeys(SCORERS[score.scorer] for score in scores.values()))
        table = metrics_table(f"{KINDS[iou]} × 100, {self.protocol} ({scorers})", SHOWN)
        for name, score in scores.items():
            table.add_row(name, *(percent(score.values[key]) for key in SHOWN))
        for each in self.published:
            if iou in each.figures:
                figures = each.figures[iou]
                table.add_row(f"{each.name}, published", *(percent(figures.get(k)) for k in SHOWN))
        return table


def _intervals_table(iou: Iou, names: tuple[str, ...], drawn: Mapping[str, Draws]) -> Table:
    table = metrics_table(f"{KINDS[iou]}, 95 % intervals", names)
    for row, draws in drawn.items():
        table.add_row(row, *(_range(interval(draws[name])) for name in names))
    return table


def _differences_table(iou: Iou, drawn: Mapping[str, Draws]) -> Table:
    (first, base), *others = drawn.items()
    table = metrics_table(f"{KINDS[iou]}, difference from {first}, 95 % intervals", DIFFERENCES)
    for row, draws in others:
        limits = (interval(draws[key] - base[key]) for key in DIFFERENCES)
        cells = (_range(each, sign="+", between=" to ") for each in limits)
        table.add_row(row, *cells)
    return table


def _range(limits: tuple[float, float] | None, *, sign: str = "", between: str = "–") -> str:
    if limits is None:
        return "–"
    low, high = (f"{100 * limit:{sign}.1f}" for limit in limits)
    return f"{low}{between}{high}"
