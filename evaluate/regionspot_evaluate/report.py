"""What an evaluation found, as JSON and as tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from regionspot_core import __version__
from regionspot_core.lvis_scoring import METRICS
from regionspot_core.tables import counted, show
from regionspot_evaluate.classification import RegionFigures
from regionspot_evaluate.scoring import Score
from regionspot_evaluate.scoring.figures import LVIS_PROTOCOLS

if TYPE_CHECKING:  # it brings supervision
    from regionspot_evaluate.predict import PredictReport
    from regionspot_evaluate.run import ShareReport

PROTOCOL = LVIS_PROTOCOLS["standard"]
GROUPS = ("all", "frequent", "common", "rare")


@dataclass(frozen=True)
class Baseline:
    """The figures of CLIP-on-crop."""

    box: Score
    region: RegionFigures

    @property
    def region_top1(self) -> dict[str, float]:
        """By frequency and kind of class."""
        return self.region.top1


@dataclass(frozen=True)
class EvaluationReport:
    """The figures of a head, and of CLIP-on-crop on the same boxes where it was asked for."""

    box: Score
    mask: Score
    region: RegionFigures
    """Of the proposals whose classes are known."""
    baseline: Baseline | None
    proposals: str
    images: int
    without_proposals: int
    """Images for which the proposals have no box."""
    dropped: dict[str, int]
    """Annotations left out, by reason."""
    failed: tuple[str, ...]
    """Images that could not be read, with the reason."""

    @property
    def region_top1(self) -> dict[str, float]:
        """By frequency and kind of class; empty where the proposals' classes are not known."""
        return self.region.top1

    def to_json(self) -> dict[str, Any]:
        """The content of ``metrics.json``; figures are shares of 1, null where not measurable."""
        return {
            "protocol": PROTOCOL,
            "proposals": self.proposals,
            "box": self.box.values,
            "mask": self.mask.values,
            **self.region.to_json(),
            "baseline_clip_crop": self.baseline
            and {"box": self.baseline.box.values, **self.baseline.region.to_json()},
            "images": self.images,
            "images_without_proposals": self.without_proposals,
            "left_out": self.dropped,
            "failed": list(self.failed),
            "version": __version__,
        }

    def tables(self) -> list[Table]:
        """Average precision, and where the true classes are known, how regions are named."""
        rows = {"head, box": self.box.values, "head, mask": self.mask.values}
        named = {"head": self.region}
        if self.baseline:
            rows["CLIP crop, box"] = self.baseline.box.values
            named["CLIP crop"] = self.baseline.region
        title = f"× 100, {PROTOCOL}; boxes: {self.proposals}"
        return [precision_table(title, rows), *naming_tables(named)]

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
        return lines + _failed_line(self.failed)


def evaluation_output(reports: Mapping[str, EvaluationReport]) -> list[Table | str]:
    """What is printed of one head, or of several a row each."""
    first = next(iter(reports.values()))
    if len(reports) == 1:
        return [*first.tables(), *first.remarks()]
    boxes = {name: report.box.values for name, report in reports.items()}
    masks = {name: report.mask.values for name, report in reports.items()}
    named = {name: report.region for name, report in reports.items()}
    if first.baseline:
        boxes["CLIP crop"] = first.baseline.box.values
        named["CLIP crop"] = first.baseline.region
    scored_by = f"× 100, {PROTOCOL}; boxes: {first.proposals}"
    return [
        precision_table(f"Box, {scored_by}", boxes),
        precision_table(f"Mask, {scored_by}", masks),
        *naming_tables(named),
        *first.remarks(),
    ]


def share_output(share: str, report: ShareReport) -> list[str]:
    """What is printed of a share that is done."""
    left = (
        f"{counted(report.images_left, 'image')} left to other shares; after them the"
        if report.images_left
        else "all shares are done: the"
    )
    lines = [
        f"share {share}: {counted(report.images, 'image')} done; {left} same command without "
        f"--shard scores"
    ]
    return lines + _failed_line(report.failed)


def precision_table(title: str, rows: Mapping[str, Mapping[str, float | None]]) -> Table:
    """LVIS's figures × 100, a labelled row each."""
    shown = [name for name in METRICS if name not in ("ARs", "ARm", "ARl")]
    table = _titled_table(title)
    table.add_column("", overflow="fold")
    for name in shown:
        table.add_column(name, justify="right")
    for label, figures in rows.items():
        table.add_row(label, *(_percent(figures[name]) for name in shown))
    return table


def naming_tables(rows: Mapping[str, RegionFigures]) -> list[Table]:
    """Region top-1 by group of classes, with top-5 and the classes' mean; none if none is known."""
    there = {group for figures in rows.values() for group in figures.top1}
    if not there:
        return []
    groups = [g for g in GROUPS if g in there] + sorted(there.difference(GROUPS))
    table = _titled_table("Region top-1 over the whole vocabulary, %; of all, top-5 and class mean")
    table.add_column("", overflow="fold")
    for heading in (*groups, "top-5", "mean"):
        table.add_column(heading.replace("_", " "), justify="right")
    for label, figures in rows.items():
        shares = [figures.top1.get(group) for group in groups]
        shares += [figures.top5.get("all"), figures.class_mean.get("all")]
        table.add_row(label, *map(_percent, shares))
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


def _failed_line(failed: tuple[str, ...]) -> list[str]:
    if not failed:
        return []
    return [f"{counted(len(failed), 'image')} could not be read, first: {failed[0]}"]


def _titled_table(title: str) -> Table:
    return Table(
        title=title, title_justify="left", title_style="bold", box=None, padding=(0, 1, 0, 0)
    )


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"
