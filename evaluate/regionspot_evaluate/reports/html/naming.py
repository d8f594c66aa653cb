"""What each annotated region is called: whether its best detection has its name, or which other.

Made for telling classes apart, where average precision mixes naming, ranking and missing. LVIS's
lists of absent and not exhaustively annotated classes play no part: every region here is known.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regionspot_core.datasets.record import AnnotationSet
from regionspot_core.imaging.boxes import box_iou
from regionspot_evaluate.reports.html.read_run import Detections

LEAST_IOU = 0.5
MISSED = -1


@dataclass(frozen=True)
class Naming:
    """R annotated regions, each with its highest scored detection of any class."""

    predicted: NDArray[np.int64]
    """(R,) the detection's class index; ``MISSED`` where none has an IoU of ``LEAST_IOU``."""
    score: NDArray[np.float64]
    """(R,) the detection's; 0 where there is none."""
    right: NDArray[np.bool_]
    """(R,)"""


@dataclass(frozen=True)
class Confusion:
    """Regions of one class that were called by another name."""

    true: int
    predicted: int
    count: int
    of: int
    """Number of regions of the true class."""
    score: float
    """Mean of the wrong detections'."""


@dataclass(frozen=True)
class ConfusionMatrix:
    """C classes against what their regions were called."""

    classes: list[int]
    counts: list[list[int]]
    """(C, C + 2): rows are true; the last two columns are any other class, and missed."""


def name_regions(annotations: AnnotationSet, detections: Detections) -> Naming:
    """Find for each annotated box the highest scored detection that overlaps it enough."""
    count = len(annotations.box)
    predicted = np.full(count, MISSED, dtype=np.int64)
    score = np.zeros(count)
    for image in range(len(annotations)):
        true, found = annotations.regions(image), detections.of_image(image)
        if true.start == true.stop or found.start == found.stop:
            continue
        near = box_iou(detections.box[found], annotations.box[true]) >= LEAST_IOU
        best = found.start + near.argmax(axis=0)  # the first is the highest scored
        hit = near.any(axis=0)
        predicted[true] = np.where(hit, detections.class_index[best], MISSED)
        score[true] = np.where(hit, detections.score[best], 0.0)
    return Naming(predicted, score, predicted == annotations.class_index)


def confusions(annotations: AnnotationSet, naming: Naming) -> list[Confusion]:
    """Return pairs of a true class and a wrong prediction, the most frequent first."""
    true = annotations.class_index.astype(np.int64)
    wrong = np.flatnonzero((naming.predicted != MISSED) & ~naming.right)
    if not len(wrong):
        return []
    pairs, inverse, counts = np.unique(
        np.column_stack([true[wrong], naming.predicted[wrong]]),
        axis=0,
        return_inverse=True,
        return_counts=True,
    )
    scores = np.bincount(inverse.reshape(-1), weights=naming.score[wrong]) / counts
    of = np.bincount(true)
    order = np.lexsort([-scores, -counts])
    return [
        Confusion(
            int(pairs[p, 0]),
            int(pairs[p, 1]),
            int(counts[p]),
            int(of[pairs[p, 0]]),
            float(scores[p]),
        )
        for p in order
    ]


def worst_matrix(
    annotations: AnnotationSet, naming: Naming, ranked: list[Confusion], *, classes: int = 12
) -> ConfusionMatrix:
    """Return the classes of the most frequent confusions against each other.

    Args:
        annotations: The regions.
        naming: Predictions of the annotated regions.
        ranked: Confusions from :func:`confusions`.
        classes: At most so many; as they come in pairs, one fewer may be chosen.
    """
    chosen: list[int] = []
    for confusion in ranked:
        new = [c for c in (confusion.true, confusion.predicted) if c not in chosen]
        if len(chosen) + len(new) <= classes:
            chosen += new
    place = {class_index: position for position, class_index in enumerate(chosen)}
    counts = [[0] * (len(chosen) + 2) for _ in chosen]
    pairs = Counter(zip(annotations.class_index.tolist(), naming.predicted.tolist(), strict=True))
    for (true, predicted), count in pairs.items():
        if true in place:
            column = len(chosen) + 1 if predicted == MISSED else place.get(predicted, len(chosen))
            counts[place[true]][column] += count
    return ConfusionMatrix(chosen, counts)


def share_right(
    naming: Naming, group: NDArray[np.integer], groups: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return for each of ``groups`` the share of right regions (NaN if empty) and their number."""
    number = np.bincount(group, minlength=groups)
    right = np.bincount(group, weights=naming.right, minlength=groups)
    share = np.divide(right, number, out=np.full(groups, np.nan), where=number > 0)
    return share, number
