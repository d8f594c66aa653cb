"""Named regions of pictures, and their form in a journal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from regionspot_core.heads.unknown_classes import NONE_OF_THESE
from regionspot_core.imaging.transforms import Size
from regionspot_evaluate.recognition.image_regions import Recognition


@dataclass(frozen=True)
class NamedRegion:
    """One region and its best names."""

    prompt: str
    """``box``, ``point``, ``mask``, ``auto``, ``whole`` or ``proposal``"""
    box: tuple[float, float, float, float]
    """xyxy, original pixels"""
    predicted_iou: float
    """SAM's estimate of the mask's IoU."""
    names: Annotated[tuple[tuple[str, float], ...], msgspec.Meta(min_length=1)]
    """The best names and their probabilities among the vocabulary's, best first."""
    mask: dict[str, Any] | None
    """COCO run-length encoding; None where it is not asked for."""
    detector_score: float | None = None
    """Score that a detector's file gives the box."""
    known_score: float | None = None
    """Head's score that the region is one of the names; None of an earlier version's journal."""
    none_of_these: bool = False
    """Whether that is below the threshold: ``names`` are then the nearest, and none fits."""

    @property
    def label(self) -> str:
        """Return the best name, or that none fits, with the former's probability."""
        name, probability = self.names[0]
        return NONE_OF_THESE if self.none_of_these else f"{name} {probability:.0%}"

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        values = {
            "prompt": self.prompt,
            "box": [round(value, 2) for value in self.box],
            "predicted_iou": round(self.predicted_iou, 4),
            "names": [{"name": name, "probability": round(p, 6)} for name, p in self.names],
            "known_score": None if self.known_score is None else round(self.known_score, 4),
            "none_of_these": self.none_of_these,
            "mask": self.mask,
        }
        if self.detector_score is not None:
            values["detector_score"] = self.detector_score
        return values


def named_regions(
    prompt: str,
    recognition: Recognition,
    names: Sequence[str],
    top: int,
    detector_scores: NDArray[np.floating] | None = None,
    *,
    threshold: float | None = None,
) -> list[NamedRegion]:
    """Return one picture's R regions with their ``top`` best names.

    Args:
        prompt: Word for what pointed at the regions.
        recognition: The regions.
        names: K class names.
        top: Number of names of a region.
        detector_scores: (R,)
        threshold: Least score of a region that has one of the names; None: all have one.
    """
    probabilities, known = recognition.probabilities, recognition.known_scores
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
    corners = recognition.boxes.tolist()
    return [
        NamedRegion(
            prompt=prompt,
            box=tuple(corners[r]),
            predicted_iou=float(recognition.predicted_iou[r]),
            names=tuple((names[k], float(probabilities[r, k])) for k in best[r]),
            mask=recognition.masks[r],
            detector_score=None if detector_scores is None else float(detector_scores[r]),
            known_score=float(known[r]),
            none_of_these=threshold is not None and bool(known[r] < threshold),
        )
        for r in range(len(best))
    ]


@dataclass(frozen=True)
class PictureRecord:
    """The named regions of one picture, or the reason why it could not be read."""

    position: int
    """Position in the list of pictures."""
    failed: str | None = None
    size: Size = (0, 0)
    """(height, width) in pixels."""
    regions: tuple[NamedRegion, ...] = ()
    left_out: int = 0
    """Regions whose best name was not probable enough."""
    overlapping: int = 0
    """Regions that SAM found by itself and that overlapped a surer one."""

    @classmethod
    def create(
        cls,
        position: int,
        size: Size,
        regions: Sequence[NamedRegion],
        *,
        least: float,
        overlapping: int = 0,
    ) -> PictureRecord:
        """Return the record of a picture without the regions whose best name is not probable."""
        kept = tuple(each for each in regions if each.names[0][1] >= least)
        return cls(position, None, size, kept, len(regions) - len(kept), overlapping)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, with every digit."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        return values
