"""Which detections a protocol keeps. Of equal scores the earlier in the file goes first."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from regionspot_core.datasets.truth import Truth
from regionspot_core.scoring.figures import COCO_DETECTIONS, DETECTIONS
from regionspot_core.scoring.plan import COCO, LVIS
from regionspot_evaluate.scoring.figures import FIXED_DETECTIONS, Counts, Protocol
from regionspot_evaluate.scoring.results import Results


def kept_detections(results: Results, protocol: Protocol) -> NDArray[np.bool_]:
    """Return (N,) whether detections are within the protocol's limit.

    ``lvis`` keeps the best 300 of each image, of all classes together (Gupta et al. 2019);
    ``lvis-fixed`` the best 10 000 of each class, of all images together (Dave et al. 2021);
    ``coco`` the best 100 of each class in each image.
    """
    if protocol == LVIS:
        return best_of_each(results.image, results.score, limit=DETECTIONS)
    if protocol == COCO:
        cell = results.image.astype(np.int64) * (1 + results.class_index.max(initial=0))
        _, cell = np.unique(cell + results.class_index, return_inverse=True)
        return best_of_each(cell, results.score, limit=COCO_DETECTIONS)
    return best_of_each(results.class_index, results.score, limit=FIXED_DETECTIONS)


def protocol_of(truth: Truth) -> Protocol:
    """Return the usual protocol of annotations, by whether they were read with LVIS's lists."""
    return LVIS if truth.federated else COCO


def best_of_each(
    group: NDArray[np.integer], scores: NDArray[np.floating], *, limit: int
) -> NDArray[np.bool_]:
    """Return (N,) whether scores are among the ``limit`` highest of their group."""
    crowded = np.bincount(group) > limit
    kept: NDArray[np.bool_] = ~crowded[group]
    rows = np.flatnonzero(~kept)  # only groups that lose some are sorted
    order = rows[np.lexsort((-scores[rows], group[rows]))]
    groups = group[order]
    first = np.flatnonzero(np.diff(groups, prepend=-1))
    rank = np.arange(len(order)) - np.repeat(first, np.diff([*first, len(order)]))
    kept[order[rank < limit]] = True
    return kept


def count_detections(truth: Truth, results: Results, kept: NDArray[np.bool_]) -> Counts:
    """Return the numbers of images and detections that were scored."""
    return Counts(
        images=len(truth.image_id),
        images_with_detections=len(np.unique(results.image)),
        detections=len(results.score),
        kept=int(kept.sum()),
        judged=int(kept[results.judged].sum()),
    )
