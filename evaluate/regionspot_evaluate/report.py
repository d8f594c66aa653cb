"""What an evaluation found, as JSON and as tables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from regionspot_core import __version__
from regionspot_core.lvis_scoring import METRICS
from regionspot_core.tables import counted, show
from regionspot_evaluate.scoring import Score
from regionspot_evaluate.scoring.figures import LVIS_PROTOCOLS

if TYPE_CHECKING:  # it brings supervision
    from regionspot_evaluate.predict import PredictReport

PROTOCOL = LVIS_PROTOCOLS["standard"]
GROUPS = ("all", "frequent", "common", "rare")


@dataclass(frozen=True)
class Baseline:
    """The figures of CLIP-on-crop."""

    box: Score
    region_top1: dict[str, float]


@dataclass(frozen=True)
class EvaluationReport:
    """The figures of a head, and of CLIP-on-crop on the same boxes where it was asked for."""

    box: Score
    mask: Score
    region_top1: dict[str, float]
    """By frequency and kind of class; empty where the proposals' classes are not known."""
    baseline: Baseline | None
    proposals: str
    images: int
    without_proposals: int
    """Images for which the proposals have no box."""
    dropped: dict[str, int]
    """Annotations left out, by reason."""
    failed: tuple[str, ...]
    """Images that could not be read, with the reason."""

    def to_json(self) -> dict[str, Any]:
        """The content of ``metrics.json``; figures are shares of 1, null where not measurable."""
        return {
            "protocol": PROTOCOL,
            "proposals": self.proposals,
            "box": self.box.values,
            "mask": self.mask.values,
            "region_top1": self.region_top1,
            "baseline_clip_crop": self.baseline
            and {"box": self.baseline.box.values, "region_top1": self.baseline.region_top1},
            "images": self.images,
            "images_without_proposals": self.without_proposals,
            "left_out": self.dropped,
            "failed": list(self.failed),
            "version": __version__,
        }

    def tables(self) -> list[Table]:
        """Average precision, and where the true classes are known, region top-1."""
        precision = _titled_table(f"× 100, {PROTOCOL}; boxes: {self.proposals}")
        precision.add_column("")
        shown = [name for name in METRICS if name not in ("ARs", "ARm", "ARl")]
        for name in shown:
            precision.add_column(name, justify="right")
        rows = {
            "head, box": self.box,
            "head, mask": self.mask,
        }
        if self.baseline:
            rows["CLIP crop, box"] = self.baseline.box
        for label, figures in rows.items():
            precision.add_row(label, *(_percent(figures[name]) for name in shown))
        return [precision, *self._top1_table()]

    def remarks(self) -> list[str]:
        """What a reader of the tables should know, a line each."""
        lines = []
        left_out = ", ".join(
            f"{count:,} {reason}" for reason, count in self.dropped.items() if count
        )
        if left_out:
            lines.append(f"annotations left out: {left_out}")
        if self.without_proposals:
            lines.append(
                f"{self.without_proposals:,} of {counted(self.images, 'image')} without a box"
            )
        if self.failed:
            lines.append(
                f"{counted(len(self.failed), 'image')} could not be read, first: {self.failed[0]}"
            )
        return lines

    def _top1_table(self) -> list[Table]:
        if not self.region_top1:
            return []
        groups = [g for g in GROUPS if g in self.region_top1]
        groups += [g for g in self.region_top1 if g not in GROUPS]
        table = _titled_table("Region top-1 over the whole vocabulary, %")
        table.add_column("")
        for group in groups:
            table.add_column(group.replace("_", " "), justify="right")
        rows = {"head": self.region_top1}
        if self.baseline:
            rows["CLIP crop"] = self.baseline.region_top1
        for label, shares in rows.items():
            table.add_row(label, *(_percent(shares.get(group)) for group in groups))
        return [table]


def print_prediction(image: Path, report: PredictReport) -> None:
    """One image's regions, and where they were written."""
    height, width = report.size
    table = _titled_table(f"{image.name}, {width} × {height}")
    for column in ("", "name", "%", "others, %", "box (x1 y1 x2 y2)", "SAM's IoU"):
        right = column in ("", "%", "SAM's IoU")
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    for number, region in enumerate(report.regions, 1):
        (name, probability), *others = region.names
        table.add_row(
            str(number),
            name,
            _percent(probability),
            ", ".join(f"{other} {_percent(share)}" for other, share in others),
            " ".join(f"{value:.0f}" for value in region.box),
            f"{region.predicted_iou:.2f}",
        )
    if report.regions:
        show(table)
    elif not report.left_out:
        show(
            f"{image.name}: no region found; try a lower --iou-threshold or more --points-per-side"
        )
    if report.left_out:
        show(f"{counted(report.left_out, 'region')} left out: no name so probable")
    show(f"written: {report.json_file}, {report.picture_file}")


def _titled_table(title: str) -> Table:
    return Table(
        title=title, title_justify="left", title_style="bold", box=None, padding=(0, 1, 0, 0)
    )


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"
