"""What an evaluation from a cache found, as JSON and as tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.table import Table

from regionspot_core import __version__
from regionspot_core.scoring.plan import ScoringPlan
from regionspot_core.scoring.training_groups import TrainingGroups
from regionspot_core.support.tables import counted
from regionspot_evaluate.reports.printing import (
    fused_label,
    fusion_lines,
    groups_json,
    naming_tables,
    training_group_tables,
    unknown_lines,
)
from regionspot_evaluate.scoring.classification import RegionFigures
from regionspot_evaluate.scoring.figures import shown_names
from regionspot_evaluate.scoring.report import metrics_table, percent
from regionspot_evaluate.scoring.unknown import UnknownFigures

if TYPE_CHECKING:  # torch, which tables need not wait for
    from regionspot_evaluate.recognition.head_fusion import HeadFusion


@dataclass(frozen=True)
class HeadFigures:
    """Figures of one head on a cache's regions."""

    box: dict[str, float | None]
    """Box figures, shares of 1; None where there is nothing to measure on."""
    region: RegionFigures
    protocol: str
    """Title of the protocol."""
    groups: TrainingGroups | None = None
    """Average precision by how often the head saw the classes; None where it does not say."""
    unknown: UnknownFigures | None = None
    """How well learnt classes are told from others; None where there are not both."""


@dataclass(frozen=True)
class CachedReport:
    """The figures of every head, in the order they were given."""

    heads: dict[str, HeadFigures]
    fusions: dict[str, HeadFusion | None]
    """How each head's scores are joined with CLIP's; None: they are not."""
    cache: str | None
    annotations: str | None
    """Annotation file of the scores; None for the cache's own boxes."""
    images: int
    regions: int
    failed: int
    """Images that extraction could not read."""
    plan: ScoringPlan
    """Rules of scoring, and why."""

    def to_json(self, head: str) -> dict[str, Any]:
        """Return the content of a head's ``metrics.json``."""
        figures, fusion = self.heads[head], self.fusions[head]
        return {
            "proposals": "gt",
            "cache": self.cache,
            "annotations": self.annotations,
            "plan": self.plan.to_json(),
            "fusion": fusion and fusion.settings.to_json(),
            "scores": {
                protocol: {"bbox": {"protocol": figures.protocol, "metrics": figures.box}}
                for protocol in self.plan.protocols
            },
            "training_groups": {
                protocol: {"bbox": groups_json(figures.groups)}
                for protocol in self.plan.protocols
                if figures.groups is not None
            },
            "naming": figures.region.to_json(),
            "unknown": figures.unknown and figures.unknown.to_json(),
            "images": self.images,
            "regions": self.regions,
            "images_not_in_cache": self.failed,
            "version": __version__,
        }

    def tables(self) -> list[Table]:
        """Return tables with a row a head: average precision, and region top-1."""
        first = next(iter(self.heads.values()))
        shown = shown_names(first.box)
        table = metrics_table(f"Box × 100, {first.protocol}", shown)
        rows = {fused_label(name, self.fusions[name]): each for name, each in self.heads.items()}
        for name, each in rows.items():
            table.add_row(name, *(percent(each.box[figure]) for figure in shown))
        groups = {name: each.groups for name, each in rows.items() if each.groups}
        named = {name: each.region for name, each in rows.items()}
        return [table, *training_group_tables(groups), *naming_tables(named)]

    def remarks(self) -> list[str]:
        """Return remarks on the tables, a line each."""
        lines = [
            self.plan.line,
            f"proposals: gt, {counted(self.regions, 'region')} of {counted(self.images, 'image')}",
        ]
        if self.failed:
            lines.append(
                f"{counted(self.failed, 'image')} could not be read when the store was made"
            )
        if self.annotations is None:
            lines.append(
                "areas are the boxes', and crowds are not in the store: --annotations brings both"
            )
        lines += unknown_lines({name: each.unknown for name, each in self.heads.items()})
        return [*lines, *fusion_lines(self.fusions)]
