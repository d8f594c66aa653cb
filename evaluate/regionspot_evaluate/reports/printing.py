"""What an evaluation found, as JSON and as tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.table import Table

from regionspot_core import __version__
from regionspot_core.scoring.plan import LVIS_FIXED, ScoringPlan
from regionspot_core.scoring.training_groups import GROUP_REGIONS, TrainingGroups
from regionspot_core.support.tables import counted, plain_table
from regionspot_evaluate.config import absolute_source
from regionspot_evaluate.recognition.baselines.names import BaselineName, baseline_label
from regionspot_evaluate.scoring.classification import RegionFigures
from regionspot_evaluate.scoring.figures import KINDS, Iou, Protocol, Score, shown_names
from regionspot_evaluate.scoring.report import metrics_table, percent, scores_table

if TYPE_CHECKING:  # torch, which tables need not wait for
    from regionspot_evaluate.recognition.head_fusion import HeadFusion
    from regionspot_evaluate.scoring.unknown import UnknownFigures

GROUPS = ("all", "frequent", "common", "rare")


@dataclass(frozen=True)
class Figures:
    """Figures of a head, or of a baseline."""

    scores: dict[Protocol, dict[Iou, Score]]
    """Scores of its detections."""
    region: RegionFigures
    """Figures of the proposals whose classes are known."""
    groups: dict[Protocol, dict[Iou, TrainingGroups]] = field(default_factory=dict)
    """Average precision by how often the head saw the classes; empty where it does not say."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values; figures are shares of 1, null where not measurable."""
        return {
            "scores": {
                protocol: {iou: score.to_json() for iou, score in scores.items()}
                for protocol, scores in self.scores.items()
            },
            "training_groups": {
                protocol: {iou: groups_json(groups) for iou, groups in of_ious.items()}
                for protocol, of_ious in self.groups.items()
            },
            "naming": self.region.to_json(),
        }


@dataclass(frozen=True)
class EvaluationReport:
    """The figures of a head, and of the baselines on the same regions."""

    head: Figures
    baselines: dict[BaselineName, Figures]
    proposals: str
    limit: int
    """Detections that an image keeps at most."""
    images: int
    without_proposals: int
    """Images for which the proposals have no box."""
    cut: int
    """Images that had more detections than the limit."""
    dropped: dict[str, int]
    """Annotations left out, by reason."""
    failed: tuple[str, ...]
    """Images that could not be read, with the reason."""
    plan: ScoringPlan
    """Rules of scoring, and why."""
    fusion: HeadFusion | None = None
    """How the head's scores are joined with CLIP's; None: they are not."""
    unknown: UnknownFigures | None = None
    """How well learnt classes are told from others; None where there are not both."""

    def to_json(self) -> dict[str, Any]:
        """Return the content of ``metrics.json``."""
        return {
            "proposals": absolute_source(self.proposals),
            "plan": self.plan.to_json(),
            "fusion": self.fusion and self.fusion.settings.to_json(),
            **self.head.to_json(),
            "unknown": self.unknown and self.unknown.to_json(),
            "baselines": {name: figures.to_json() for name, figures in self.baselines.items()},
            "detections_an_image": self.limit,
            "images": self.images,
            "images_without_proposals": self.without_proposals,
            "images_cut": self.cut,
            "left_out": self.dropped,
            "failed": list(self.failed),
            "version": __version__,
        }

    def remarks(self) -> list[str]:
        """Return remarks on all tables, a line each."""
        lines = [self.plan.line, f"proposals: {self.proposals}"]
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


@dataclass(frozen=True)
class ShareReport:
    """Outcome of one share of an evaluation."""

    images: int
    """Number of images of the share."""
    failed: tuple[str, ...]
    """Images of the whole evaluation, as far as it is done, that could not be read, with the
    reason."""
    images_left: int
    """Number of images of all shares that are not done yet."""


def evaluation_output(reports: Mapping[str, EvaluationReport]) -> list[Table | str]:
    """Return tables and remarks of one or several heads: a row each, and one for each baseline."""
    first = next(iter(reports.values()))
    labels = {fused_label(name, report.fusion): report for name, report in reports.items()}
    rows = {label: report.head for label, report in labels.items()}
    rows |= {baseline_label(name): figures for name, figures in first.baselines.items()}
    output: list[Table | str] = []
    for protocol in first.head.scores:
        output += _precision_tables(protocol, rows)
        groups = {
            f"{name} {kind.lower()}": figures.groups[protocol][iou]
            for name, figures in rows.items()
            for iou, kind in KINDS.items()
            if iou in figures.groups.get(protocol, {})
        }
        output += [*training_group_tables(groups), *_protocol_remarks(protocol, rows, first), ""]
    named = {name: figures.region for name, figures in rows.items()}
    fusions = {name: report.fusion for name, report in reports.items()}
    remarks = first.remarks()
    remarks += unknown_lines({name: report.unknown for name, report in reports.items()})
    return [*output, *naming_tables(named), *remarks, *fusion_lines(fusions)]


def fused_label(name: str, fusion: HeadFusion | None) -> str:
    """Return a head's name in tables, with what its scores are joined with."""
    return name if fusion is None else f"{name} × {fusion.label}"


def fusion_lines(fusions: Mapping[str, HeadFusion | None]) -> list[str]:
    """Return a line for each head, by its name, whose scores are joined with CLIP's."""
    return [
        f"{fused_label(name, each)}: {each.settings.line}"
        for name, each in fusions.items()
        if each is not None
    ]


def unknown_lines(figures: Mapping[str, UnknownFigures | None]) -> list[str]:
    """Return a line for each head, by its name, of which known against unknown was measured."""
    return [f"{name}: {each.line}" for name, each in figures.items() if each is not None]


def _precision_tables(protocol: Protocol, rows: Mapping[str, Figures]) -> list[Table]:
    return [
        scores_table(
            {name: figures.scores[protocol][iou] for name, figures in rows.items()},
            kind=kind,
            names=shown_names(next(iter(rows.values())).scores[protocol][iou].values),
        )
        for iou, kind in KINDS.items()
        if iou in next(iter(rows.values())).scores[protocol]
    ]


def _protocol_remarks(
    protocol: Protocol, rows: Mapping[str, Figures], report: EvaluationReport
) -> list[str]:
    """Return remarks on a protocol's tables, a line each."""
    lines = []
    if protocol == LVIS_FIXED and report.cut:
        lines.append(
            f"{report.cut:,} of {counted(report.images, 'image')} had more than the "
            f"{report.limit:,} detections kept; fixed AP counts those too: run with more "
            f"--detections (up to --pairs) into another --out"
        )
    for name, figures in rows.items():
        scores = figures.scores[protocol].values()
        why = next((score.fallback for score in scores if score.fallback), None)
        if why:
            lines.append(f"{name}: scored by the reference package: {why}")
    return lines


def share_output(share: str, report: ShareReport) -> list[str]:
    """Return the lines that are printed of a finished share."""
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


def naming_tables(rows: Mapping[str, RegionFigures]) -> list[Table]:
    """Return region top-1 by group of classes, top-5 and the classes' mean; empty if unknown."""
    known = {group for figures in rows.values() for group in figures.top1}
    if not known:
        return []
    groups = [g for g in GROUPS if g in known] + sorted(known.difference(GROUPS))
    table = plain_table("Region top-1 over the whole vocabulary, %; of all, top-5 and class mean")
    table.add_column("", overflow="fold")
    for heading in (*groups, "top-5", "mean"):
        table.add_column(heading.replace("_", " "), justify="right")
    for label, figures in rows.items():
        shares = [figures.top1.get(group) for group in groups]
        shares += [figures.top5.get("all"), figures.class_mean.get("all")]
        table.add_row(label, *map(percent, shares))
    return [table]


def groups_json(groups: TrainingGroups) -> dict[str, Any]:
    """Return plain values of groups of classes."""
    return {name: group.to_json() for name, group in groups.items()}


def training_group_tables(rows: Mapping[str, TrainingGroups]) -> list[Table]:
    """Return average precision by regions in training, a row a head; empty if none is known."""
    if not rows:
        return []
    table = metrics_table(
        "AP × 100 by a class's regions in training (number of classes)",
        [f"{name}, {regions}" for name, regions in GROUP_REGIONS.items()],
    )
    for label, groups in rows.items():
        cells = (f"{percent(each.ap)} ({each.classes:,})" for each in groups.values())
        table.add_row(label, *cells)
    return [table]


def _failed_line(failed: tuple[str, ...]) -> list[str]:
    if not failed:
        return []
    return [f"{counted(len(failed), 'image')} could not be read, first: {failed[0]}"]
