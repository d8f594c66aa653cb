"""What a tuning found, as a table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from regionspot_core.heads.score_fusion import ScoreFusion
from regionspot_core.heads.unknown_classes import UnknownThreshold
from regionspot_core.support.tables import counted, titled_table
from regionspot_evaluate.scoring.report import percent

FEW_REGIONS = 100
"""Held-out regions below which a line says how little they tell."""


@dataclass(frozen=True)
class TuneReport:
    """Numbers that were found, and the figures of the regions they were found on."""

    fusion: ScoreFusion
    figures: dict[str, dict[str, float]]
    """Figures of the head alone, of CLIP alone and of both fused, by their names."""
    unknown: UnknownThreshold
    left_out: int
    """Regions of classes that were neither learnt nor held out."""
    files: tuple[Path, ...]

    def table(self) -> Table:
        """Return a table with a row for the head, CLIP and both."""
        table = titled_table(
            "Region top-1 over the whole vocabulary, %, and -log p of the truth",
            figures=("seen classes", "held-out classes", "mean", "-log p"),
        )
        for name, found in self.figures.items():
            shares = (found["seen"], found["held_out"], found["mean"])
            table.add_row(name, *map(percent, shares), f"{found['loss']:.3f}")
        return table

    def remarks(self) -> list[str]:
        """Return remarks on the table, a line each."""
        tuned = self.fusion.tuned
        assert tuned is not None
        seen, held_out = tuned.regions["seen"], tuned.regions["held_out"]
        lines = [
            self.fusion.line,
            f"{counted(tuned.images, 'image')} that the head learnt nothing of: {seen:,} regions "
            f"of seen classes, {held_out:,} of {len(tuned.held_out_classes.names):,} held-out ones",
        ]
        if self.left_out:
            lines.append(
                f"{counted(self.left_out, 'region')} left out: of classes that were neither learnt "
                f"nor held out"
            )
        if held_out < FEW_REGIONS:
            lines.append(
                f"{counted(held_out, 'region')} of held-out classes tell little: their top-1 may "
                f"be {0.5 / held_out**0.5:.0%} off by chance; hold out a larger share"
            )
        lines.append(
            f"none of these: where only seen classes have names, a largest logit below "
            f"{self.unknown.threshold:.4g} is of none; {percent(self.unknown.known_kept)} % of "
            f"their regions are kept, {percent(self.unknown.unknown_refused)} % of the held-out "
            f"classes' refused (AUROC {percent(self.unknown.auroc)} %)"
        )
        lines.append("these figures were tuned for: report those of other images and classes")
        return lines
