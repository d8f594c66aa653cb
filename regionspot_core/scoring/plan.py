"""Which rules a data set can be scored by, and which kinds of region: one answer for all commands.

LVIS's rules judge a class only in the images that are known to show it, or not to show it, so they
need the annotations' lists; COCO's judge every class in every image, and need boxes alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from regionspot_core.errors import AnnotationError

if TYPE_CHECKING:  # NumPy, which a wrong argument need not wait for
    from regionspot_core.datasets.table import Obstacles

Iou = Literal["bbox", "segm"]
Protocol = str
"""Key of the table of protocols: ``lvis``, ``lvis-fixed``, ``coco``, or a registered one."""

BOTH: tuple[Iou, ...] = ("bbox", "segm")
LVIS, LVIS_FIXED, COCO = "lvis", "lvis-fixed", "coco"
RULES: dict[Protocol, str] = {
    LVIS: "LVIS's rules",
    LVIS_FIXED: "LVIS's rules with fixed AP",
    COCO: "COCO's rules",
}
FEDERATED = (LVIS, LVIS_FIXED)
"""Protocols that need LVIS's lists of classes."""
STORE_PROTOCOLS = (LVIS, COCO)
"""Protocols that a store's own boxes can be scored by, without the annotation file."""


@dataclass(frozen=True)
class ScoringPlan:
    """Rules and kinds of region that annotations are scored by, and why."""

    protocols: tuple[Protocol, ...]
    ious: tuple[Iou, ...]
    reason: str
    """What the annotations hold, or lack."""

    @property
    def line(self) -> str:
        """Return one line for a terminal: what is scored, by which rules, and why."""
        rules = " and ".join(RULES.get(name, name) for name in self.protocols)
        alone = "boxes alone" if self.ious == ("bbox",) else "masks alone"
        kinds = "boxes and masks" if len(self.ious) > 1 else alone
        return f"scored by {rules}, {kinds}: {self.reason}"

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "protocols": list(self.protocols),
            "ious": list(self.ious),
            "reason": self.reason,
        }


def plan_scoring(
    obstacles: Obstacles,
    *,
    what: object,
    protocols: Sequence[Protocol] | None = None,
    ious: Sequence[Iou] | None = None,
) -> ScoringPlan:
    """Choose the rules and the kinds of region that annotations can be scored by.

    Args:
        obstacles: What the annotations lack.
        what: Their file or store, which errors name.
        protocols: The rules that are asked for; None: LVIS's where the annotations have its
            lists, else COCO's.
        ious: The kinds of region that are asked for; None: boxes, and masks where every annotation
            has one.

    Raises:
        AnnotationError: If the annotations lack what is asked for.
    """
    reasons = []
    if protocols is None:
        protocols = (COCO,) if obstacles.federated else (LVIS,)
        reasons.append(obstacles.federated or "each image has lists of classes as LVIS's")
    else:
        asked = next((name for name in protocols if name in FEDERATED), None)
        if asked and obstacles.federated:
            raise AnnotationError(
                f"{what}: protocol {asked} needs lists of the classes that an image is known not "
                f"to show, and {obstacles.federated}; protocol coco does without"
            )
        reasons.append("as asked")
    if ious is None:
        ious = ("bbox",) if obstacles.masks else BOTH
        reasons += [obstacles.masks] if obstacles.masks else []
    elif "segm" in ious and obstacles.masks:
        raise AnnotationError(
            f"{what}: masks cannot be scored, since {obstacles.masks}; score boxes alone"
        )
    return ScoringPlan(tuple(protocols), tuple(ious), "; ".join(reasons))
