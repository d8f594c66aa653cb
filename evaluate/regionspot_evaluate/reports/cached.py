"""What an evaluation from a cache found, as JSON and as tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich.table import Table

from regionspot_core import __version__
from regionspot_core.scoring.figures import DETECTIONS
from regionspot_core.support.tables import counted
from regionspot_evaluate.reports.printing import naming_tables
from regionspot_evaluate.scoring.classification import RegionFigures
from regionspot_evaluate.scoring.figures import LVIS_PROTOCOLS, Protocol, shown_names
from regionspot_evaluate.scoring.report import metrics_table, percent

PROTOCOL = LVIS_PROTOCOLS["lvis"]
NOT_FEDERATED = "LVIS's AP without lists of absent classes"
EVERY_CLASS_COUNTS = (
    f"every class counts in every image, as in COCO; of an image the best {DETECTIONS} detections, "
    f"all classes together, as in LVIS"
)
"""Protocol of a store whose annotations list no absent classes."""


@dataclass(frozen=True)
class HeadFigures:
    """Figures of one head on a cache's regions."""

    box: dict[str, float | None]
    """LVIS's box figures, shares of 1; None where there is nothing to measure on."""
    region: RegionFigures
    protocol: str | None = None
    """Protocol of the scorer; None where the store's own boxes were scored against."""


@dataclass(frozen=True)
class CachedReport:
    """The figures of every head, in the order they were given."""

    heads: dict[str, HeadFigures]
    cache: str | None
    annotations: str | None
    """Annotation file of the scores; None for the cache's own boxes."""
    images: int
    regions: int
    failed: int
    """Images that extraction could not read."""
    federated: bool
    """Whether LVIS's lists say which classes are judged in an image."""
    key: Protocol = "lvis"
    """Name of the protocol."""

    @property
    def protocol(self) -> str:
        """Return the protocol of the figures, in words."""
        scored = next(iter(self.heads.values())).protocol
        if scored is not None:
            return scored
        return PROTOCOL if self.federated else f"{NOT_FEDERATED}: {EVERY_CLASS_COUNTS}"

    def to_json(self, head: str) -> dict[str, Any]:
        """Return the content of a head's ``metrics.json``."""
        figures = self.heads[head]
        return {
            "proposals": "gt",
            "cache": self.cache,
            "annotations": self.annotations,
            "scores": {self.key: {"bbox": {"protocol": self.protocol, "metrics": figures.box}}},
            "naming": figures.region.to_json(),
            "images": self.images,
            "regions": self.regions,
            "images_not_in_cache": self.failed,
            "version": __version__,
        }

    def tables(self) -> list[Table]:
        """Return tables with a row a head: average precision, and region top-1."""
        title = self.protocol if self.federated else NOT_FEDERATED
        shown = shown_names(next(iter(self.heads.values())).box)
        table = metrics_table(f"Box × 100, {title}", shown)
        for name, each in self.heads.items():
            table.add_row(name, *(percent(each.box[figure]) for figure in shown))
        return [table, *naming_tables({name: each.region for name, each in self.heads.items()})]

    def remarks(self) -> list[str]:
        """Return remarks on the tables, a line each."""
        lines = [
            f"proposals: gt, {counted(self.regions, 'region')} of {counted(self.images, 'image')}"
        ]
        if not self.federated:
            lines.append(f"the store lists no absent classes: {EVERY_CLASS_COUNTS}")
        if self.failed:
            lines.append(
                f"{counted(self.failed, 'image')} could not be read when the store was made"
            )
        if self.annotations is None:
            lines.append("areas are the boxes': with --annotations, APs, APm and APl are of masks'")
        return lines
