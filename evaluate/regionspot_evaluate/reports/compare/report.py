"""Rows of several detectors as tables and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rich.console import Group
from rich.table import Table
from rich.text import Text

from regionspot_core import __version__
from regionspot_core.scoring.plan import ScoringPlan
from regionspot_core.support.tables import counted
from regionspot_evaluate.reports.compare.config import CompareConfig
from regionspot_evaluate.reports.compare.published import Published
from regionspot_evaluate.reports.compare.resampling import CONFIDENCE, interval
from regionspot_evaluate.scoring.figures import KINDS, PROTOCOL_TITLES, Iou, Score, one_protocol
from regionspot_evaluate.scoring.report import NAME_WIDTH, percent

Kind = Literal["bbox", "segm", "regions"]
"""Subject of a figure: detections by boxes or by masks, or the classes of known regions."""
PARTS = {"by frequency": ("APr", "APc", "APf"), "by size": ("APs", "APm", "APl")}
"""Figures that the second table has, the first that the rules know."""
NOT_SHOWN = ("ARs", "ARm", "ARl")
"""Figures that do not fit into 80 columns beside the others."""


@dataclass(frozen=True)
class Figures:
    """The figures of all images, and those of each draw of images."""

    values: Mapping[str, float | None]
    draws: Mapping[str, NDArray[np.float64]]
    """(N,) each; empty where there are no intervals."""


@dataclass(frozen=True)
class Row:
    """One results file."""

    path: Path
    scores: dict[Iou, Score]
    figures: dict[Kind, Figures]
    """``regions`` is there where the file's folder says how regions were named."""


@dataclass(frozen=True)
class Estimate:
    """A figure, or a difference of two, as a share of 1."""

    value: float | None
    interval: tuple[float, float] | None
    """95 %; None where there is none."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {"value": self.value, "interval": self.interval}

    def percent(self, sign: str = "") -> str:
        """Return a figure × 100, as ``31.5 [29.1, 33.9]``."""
        if self.value is None or self.interval is None:
            return percent(self.value)
        value, low, high = (f"{100 * each:{sign}.1f}" for each in (self.value, *self.interval))
        return f"{value} [{low}, {high}]"


@dataclass(frozen=True)
class CompareReport:
    """Rows by name, in the order given, all by one protocol."""

    config: CompareConfig
    plan: ScoringPlan
    rows: dict[str, Row]
    images: int
    published: tuple[Published, ...] = ()

    @property
    def protocol(self) -> str:
        """Return the protocol of all rows, in words."""
        return one_protocol(score for row in self.rows.values() for score in row.scores.values())

    def to_json(self) -> dict[str, Any]:
        """Return plain values: figures are shares of 1, null where nothing is annotated."""
        return {
            "protocol": self.protocol,
            "plan": self.plan.to_json(),
            "annotations": str(self.config.annotations),
            "bootstrap": {
                "draws": self.config.bootstrap,
                "of": "half of the images, without replacement",
                "seed": self.config.seed,
                "level": CONFIDENCE,
            },
            "rows": {
                name: {
                    "detections": str(row.path),
                    **{
                        iou: row.scores[iou].to_json() | self._estimates_json(name, iou)
                        for iou in self.config.iou
                    },
                    "regions": (
                        {"metrics": row.figures["regions"].values}
                        | self._estimates_json(name, "regions")
                        if "regions" in row.figures
                        else None
                    ),
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

    def tables(self) -> list[Group]:
        """Return tables of 80 columns: the main figures, then frequencies or sizes, the rest."""
        scores = [score for row in self.rows.values() for score in row.scores.values()]
        scorers = " and ".join(dict.fromkeys(score.package for score in scores))
        names = list(scores[0].values)
        first = "AP" if "AP" in names else names[0]
        main: dict[str, tuple[Kind, str]] = {
            f"{KINDS[iou].lower()} {first}": (iou, first) for iou in self.config.iou
        }
        if any("regions" in row.figures for row in self.rows.values()):
            main["top-1"] = ("regions", "top1")
        tables = [self._table(f"{self.protocol} ({scorers}), × 100", main)]
        parts = next((part for part, keys in PARTS.items() if {*keys} <= {*names}), "")
        left_out = (first, *PARTS.get(parts, ()), *NOT_SHOWN)
        others = [name for name in names if name not in left_out]
        for iou in self.config.iou:
            if parts:
                columns: dict[str, tuple[Kind, str]] = {key: (iou, key) for key in PARTS[parts]}
                tables.append(self._table(f"{KINDS[iou]}, {parts}, × 100", columns))
            if others:
                tables.append(self._others(iou, others))
        return tables

    def remarks(self) -> list[str]:
        """Return remarks on the tables, a line each."""
        lines = [self.plan.line]
        if any(figures.draws for row in self.rows.values() for figures in row.figures.values()):
            draws = counted(self.config.bootstrap, "draw")
            lines.append(
                f"x [lo, hi]: 95 % interval for other sets of {self.images:,} images, from {draws} "
                f"of half of them"
            )
        lines += [
            f"published: {source}" for source in dict.fromkeys(p.source for p in self.published)
        ]
        for name, row in self.rows.items():
            why = next((s.fallback for s in row.scores.values() if s.fallback), None)
            if why:
                without = ", without intervals" if self.config.bootstrap else ""
                lines.append(f"{name}: scored by lvis{without}: {why}")
        if self.config.bootstrap and self.plan.protocols[0] not in PROTOCOL_TITLES:
            lines.append("without intervals: they are known of LVIS's and COCO's rules alone")
        return lines

    def _table(self, title: str, columns: Mapping[str, tuple[Kind, str]]) -> Group:
        """Return a table of figures with intervals, and their differences from the first row."""
        table = _table_of(columns)
        for name in self.rows:
            figures = [self._estimates(name, kind).get(key) for kind, key in columns.values()]
            table.add_row(name, *("–" if each is None else each.percent() for each in figures))
            differences = [self._differences(name, kind).get(key) for kind, key in columns.values()]
            if any(each is not None and each.interval for each in differences):
                cells = ["" if each is None else each.percent("+") for each in differences]
                table.add_row(f"  − {self._first}", *cells)
        for paper in self.published:
            known = [
                None if kind == "regions" else paper.figures.get(kind, {}).get(key)
                for kind, key in columns.values()
            ]
            if any(value is not None for value in known):
                table.add_row(f"{paper.name}, published", *map(percent, known))
        return Group(Text(title, style="bold"), table)

    def _others(self, iou: Iou, names: Sequence[str]) -> Group:
        """Return a table of figures without intervals."""
        table = _table_of(names)
        for name, row in self.rows.items():
            table.add_row(name, *(percent(row.scores[iou].values[key]) for key in names))
        return Group(Text(f"{KINDS[iou]}, other figures, × 100", style="bold"), table)

    @property
    def _first(self) -> str:
        return next(iter(self.rows))

    def _estimates_json(self, name: str, kind: Kind) -> dict[str, Any]:
        intervals = {key: each.interval for key, each in self._estimates(name, kind).items()}
        differences = self._differences(name, kind)
        return {
            "intervals": intervals if self.rows[name].figures[kind].draws else None,
            "difference_from_first": (
                {key: each.to_json() for key, each in differences.items()} or None
            ),
        }

    def _estimates(self, name: str, kind: Kind) -> dict[str, Estimate]:
        figures = self.rows[name].figures.get(kind)
        if figures is None:
            return {}
        estimates = {}
        for key, value in figures.values.items():
            ends = self._interval(value, figures.draws.get(key))
            limits = None if ends is None else (max(ends[0], 0.0), min(ends[1], 1.0))
            estimates[key] = Estimate(value, limits)
        return estimates

    def _differences(self, name: str, kind: Kind) -> dict[str, Estimate]:
        """Return how a row differs from the first in the same draws; nothing for the first."""
        figures = self.rows[name].figures.get(kind)
        first = self.rows[self._first].figures.get(kind)
        if name == self._first or figures is None or first is None:
            return {}
        differences = {}
        for key, value in figures.values.items():
            base = first.values[key]
            difference = None if value is None or base is None else value - base
            draws = figures.draws[key] - first.draws[key] if figures.draws and first.draws else None
            differences[key] = Estimate(difference, self._interval(difference, draws))
        return differences

    def _interval(
        self, value: float | None, draws: NDArray[np.float64] | None
    ) -> tuple[float, float] | None:
        return None if draws is None else interval(value, draws, images=self.images)


def _table_of(columns: Iterable[str]) -> Table:
    """Return a table of figures without its rows: the first cell of each is its name."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("", overflow="fold", max_width=NAME_WIDTH)
    for name in columns:
        table.add_column(name, no_wrap=True)
    return table
