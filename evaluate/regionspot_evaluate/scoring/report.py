"""Scores as JSON and as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from regionspot_core import __version__
from regionspot_core.scoring.plan import ScoringPlan
from regionspot_core.support.tables import counted, facts_table, plain_table
from regionspot_evaluate.scoring.figures import KINDS, LVIS_PROTOCOLS, Score, one_protocol

TOLERANCE = 1e-6
"""Largest difference of a figure from the reference's."""
NAME_WIDTH = 28


@dataclass(frozen=True)
class ScoreReport:
    """The scores of one results file."""

    annotations: Path
    detections: Path
    plan: ScoringPlan
    scores: tuple[Score, ...]
    reference_difference: float | None
    """The largest from the figures of the rules' own package; None where that was not asked for."""

    @property
    def agrees(self) -> bool:
        """Return whether no figure is known to differ from the reference."""
        return self.reference_difference is None or self.reference_difference <= TOLERANCE

    def to_json(self) -> dict[str, Any]:
        """Return plain values: figures are shares of 1, null where nothing is annotated."""
        first = self.scores[0]
        return {
            "protocol": one_protocol(self.scores),
            "plan": self.plan.to_json(),
            "scorer": first.package,
            "fallback": first.fallback,
            **{score.iou: score.values for score in self.scores},
            "counts": first.counts.to_json(),
            "max_difference_to_reference": self.reference_difference,
            "annotations": str(self.annotations.absolute()),
            "detections": str(self.detections.absolute()),
            "version": __version__,
        }

    def tables(self) -> list[Table]:
        """Return tables of 80 columns."""
        rows = {KINDS[score.iou].lower(): score for score in self.scores}
        return [scores_table(rows), facts_table("What was counted", self._facts())]

    def _facts(self) -> dict[str, str]:
        first = self.scores[0]
        counts = first.counts
        facts = {
            "rules": self.plan.line.removeprefix("scored by "),
            "images": f"{counts.images:,}, {counts.images_with_detections:,} with detections",
            "detections": f"{counts.detections:,} in the file, {counts.kept:,} within the limit",
        }
        if first.protocol in LVIS_PROTOCOLS.values():
            facts["judged"] = (
                f"{counted(counts.judged, 'detection')} of a class annotated in its image, or "
                f"known to be absent"
            )
        if first.fallback:
            facts["why not fast"] = f"hotcoco's figures would differ: {first.fallback}"
        if self.reference_difference is not None:
            facts["from reference"] = f"{self.reference_difference:.1e} at most, over all figures"
        return facts


def scores_table(
    rows: Mapping[str, Score], *, kind: str = "", names: Sequence[str] | None = None
) -> Table:
    """Return a table with a row a score, × 100; its title names the protocol.

    Args:
        rows: Scores by the names of their rows.
        kind: First word of the title.
        names: The figures shown; None for all.

    Raises:
        ValueError: If the scores are of several protocols.
    """
    protocol = one_protocol(rows.values())
    scorers = " and ".join(dict.fromkeys(score.package for score in rows.values()))
    names = names or list(next(iter(rows.values())).values)
    table = metrics_table(f"{kind} × 100, {protocol} ({scorers})".strip(), names)
    for label, score in rows.items():
        table.add_row(label, *(percent(score.values[name]) for name in names))
    return table


def metrics_table(title: str, names: Sequence[str]) -> Table:
    """Return a table of figures without its rows: the first cell of each is its name."""
    table = plain_table(title)
    table.add_column("", overflow="fold", max_width=NAME_WIDTH)
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def percent(value: float | None) -> str:
    """Return a share × 100 with one digit; a dash for None."""
    return "–" if value is None else f"{100 * value:.1f}"
