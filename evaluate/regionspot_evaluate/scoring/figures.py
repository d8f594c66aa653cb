"""What a scorer finds, and the protocol that it is found by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from regionspot_core.scoring.figures import COCO_DETECTIONS, DETECTIONS, METRICS
from regionspot_core.scoring.figures import COCO_METRICS as COCO_METRICS
from regionspot_core.scoring.plan import BOTH as BOTH
from regionspot_core.scoring.plan import COCO, LVIS, LVIS_FIXED
from regionspot_core.scoring.plan import Iou as Iou
from regionspot_core.scoring.plan import Protocol as Protocol

if TYPE_CHECKING:  # which a wrong argument need not wait for
    import numpy as np
    from numpy.typing import NDArray

Package = Literal["fast", "reference"]
"""Package that scores: hotcoco where it agrees with the protocol's own one, or that one."""

KINDS: dict[Iou, str] = {"bbox": "Box", "segm": "Mask"}
"""Words for kinds of region in titles."""
FIXED_DETECTIONS = 10_000
"""The best ones of a class, over all images: Dave et al. 2021 (arXiv 2102.01066)."""
LVIS_PROTOCOLS: dict[Protocol, str] = {
    LVIS: f"LVIS standard, at most {DETECTIONS} detections an image",
    LVIS_FIXED: f"LVIS fixed AP, at most {FIXED_DETECTIONS:,} detections a class",
}
PROTOCOL_TITLES = LVIS_PROTOCOLS | {
    COCO: f"COCO, at most {COCO_DETECTIONS} detections a class and image"
}
SHOWN = tuple(name for name in METRICS if name not in ("ARs", "ARm", "ARl"))
"""LVIS's figures that fit into 80 columns beside the name of a row."""


def shown_names(values: Mapping[str, float | None]) -> list[str]:
    """Return the figures that a table shows: LVIS's main ones, or all of another scorer."""
    names = [name for name in SHOWN if name in values]
    return names if "AP" in names else list(values)


@dataclass(frozen=True)
class Counts:
    """Numbers of images and detections that were scored."""

    images: int
    """Number of annotated images."""
    images_with_detections: int
    detections: int
    """Number of detections in the results file."""
    kept: int
    """Within the protocol's limit."""
    judged: int
    """Number of kept detections of a class that is annotated in their image or known absent;
    LVIS lets the others be."""

    def to_json(self) -> dict[str, int]:
        """Return plain values."""
        return dict(vars(self))


@dataclass(frozen=True)
class Score:
    """Figures between 0 and 1; None where the annotations have no instance to measure on."""

    iou: Iou
    values: dict[str, float | None]
    protocol: str
    """Words for the protocol, as a table prints them."""
    scorer: Package
    """Which of the protocol's packages made the figures."""
    package: str
    """Name of that package."""
    counts: Counts
    fallback: str | None = None
    """Reason why ``fast`` let ``reference`` score; None where it did not."""
    class_ap_K: NDArray[np.float64] | None = field(default=None, compare=False, repr=False)
    """Average precision of each class, by rising id; NaN where it has no annotated region. None
    from a scorer that does not say."""

    def __getitem__(self, name: str) -> float | None:
        return self.values[name]

    def to_json(self) -> dict[str, Any]:
        """Return plain values: the figures, with protocol and scorer."""
        return {
            "iou": self.iou,
            "protocol": self.protocol,
            "scorer": self.package,
            "fallback": self.fallback,
            "metrics": self.values,
            "counts": self.counts.to_json(),
        }


def one_protocol(scores: Iterable[Score]) -> str:
    """Return the protocol of scores that stand in one table.

    Raises:
        ValueError: If they have several, and so cannot be compared.
    """
    protocols = {score.protocol for score in scores}
    if len(protocols) != 1:
        raise ValueError(f"scores of several protocols in one table: {sorted(protocols)}")
    return protocols.pop()


def largest_difference(
    figures: Mapping[str, float | None], reference: Mapping[str, float | None]
) -> float:
    """Return the largest difference over all figures; infinite where only one is known."""
    differences = [0.0]
    for name, value in figures.items():
        expected = reference[name]
        if value is None or expected is None:
            differences.append(0.0 if value is expected else float("inf"))
        else:
            differences.append(abs(value - expected))
    return max(differences)
