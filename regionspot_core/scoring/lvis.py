"""LVIS's protocol: which detections of an image count, its figures, and boxes scored in memory.

Average precision is of Gupta et al. 2019 (arXiv 1908.03195): federated, so that a detection of a
class that is neither annotated in its image nor among the image's negative ones is let be, and so
is an unmatched one of a class that is not annotated exhaustively there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from hotcoco import COCO, COCOeval
from numpy.typing import NDArray

from regionspot_core.datasets.class_lists import ClassLists
from regionspot_core.datasets.vocabulary import Vocabulary
from regionspot_core.imaging.boxes import xyxy_to_xywh
from regionspot_core.scoring.figures import COCO_METRICS, METRICS


def best_pairs(
    scores_RK: NDArray[np.floating], *, limit: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return region and class indices of the ``limit`` highest scores, best first.

    Ties go to the earlier region and then the earlier class, so the choice is repeatable.
    """
    scores = scores_RK.reshape(-1)
    among = np.arange(scores.size)
    if scores.size > limit:
        # Sorting all 15 000 pairs of an LVIS image takes eight times as long.
        least = np.partition(scores, -limit)[-limit]
        among = np.flatnonzero(~(scores < least))
    order = among[np.argsort(-scores[among], kind="stable")[:limit]]
    regions, classes = np.unravel_index(order, scores_RK.shape)
    return regions, classes


def named_figures(
    found: Mapping[str, float], names: Sequence[str] = METRICS
) -> dict[str, float | None]:
    """Return a scorer's figures by name; None for its -1, where nothing is annotated.

    The ``lvis`` package and hotcoco name them alike.
    """
    values = {name.removesuffix("@300"): value for name, value in found.items()}
    return {name: None if values[name] < 0 else values[name] for name in names}


class Measured(NamedTuple):
    """Figures of one scoring, and the classes' own average precision."""

    values: dict[str, float | None]
    """Figures by name, 0 to 1; None where nothing is annotated."""
    class_ap_K: NDArray[np.float64]
    """(K,) by rising class id; NaN for a class without an annotated region."""

    @classmethod
    def of(
        cls, found: Mapping[str, float], precision: NDArray[np.floating], names: Sequence[str]
    ) -> Measured:
        """Return the figures ``names`` of a scorer.

        Args:
            found: Its figures, -1 for None.
            precision: (T, R, K, A) or (T, R, K, A, M), at T IoUs and R recalls; the first of the A
                ranges is all areas, the last of the M limits the one of average precision.
            names: Figures that are kept.
        """
        precision_TRK = precision[:, :, :, 0] if precision.ndim == 4 else precision[:, :, :, 0, -1]
        # A class without regions has -1 everywhere, any other has a precision everywhere.
        class_ap_K = np.asarray(precision_TRK, dtype=np.float64).mean(axis=(0, 1))
        return cls(named_figures(found, names), np.where(class_ap_K < 0, np.nan, class_ap_K))


@dataclass(frozen=True)
class NamedBoxes:
    """N boxes with a class each."""

    image: NDArray[np.integer]
    """(N,) places of their images, from 0 on. Of two detections with one score that of the earlier
    image counts first: a file's images are scored by rising id."""
    box: NDArray[np.floating]
    """(N, 4) xyxy, original pixels."""
    class_index: NDArray[np.integer]
    """(N,) positions in the vocabulary."""


def score_boxes(
    truth: NamedBoxes,
    found: NamedBoxes,
    scores: NDArray[np.floating],
    *,
    images: int,
    vocabulary: Vocabulary,
    negative: ClassLists | None = None,
    not_exhaustive: ClassLists | None = None,
) -> Measured:
    """Return box figures by hotcoco, and each class's average precision.

    Areas are the boxes', where an annotation file has its masks' areas. That decides which boxes
    are small, medium and large, and so the figures of these, and no other figure.

    Args:
        truth: All boxes of the images.
        found: The detections, at most 300 an image.
        scores: (N,) scores of the detections.
        images: Number of images.
        vocabulary: The classes; without frequencies, LVIS's APr, APc and APf are None.
        negative: Each image's classes that are known to be absent, which LVIS's rules need.
            None: by COCO's rules every class counts in every image.
        not_exhaustive: Each image's classes that are not all annotated. None: all are.
    """
    entries: list[dict[str, Any]] = [
        {
            "id": image,
            "width": 1,  # nothing is measured by it
            "height": 1,
            "neg_category_ids": negative[image].tolist() if negative is not None else [],
            "not_exhaustive_category_ids": (
                not_exhaustive[image].tolist() if not_exhaustive is not None else []
            ),
        }
        for image in range(images)
    ]
    categories = [
        {"id": index, "name": name, "frequency": frequency}
        for index, (name, frequency) in enumerate(
            zip(vocabulary.names, vocabulary.frequencies, strict=True)
        )
    ]
    annotated = COCO.from_arrays(
        entries,
        categories,
        truth.image.astype(np.int64),
        truth.class_index.astype(np.int64),
        xyxy_to_xywh(truth.box),
    )
    rows = np.column_stack([found.image, xyxy_to_xywh(found.box), scores, found.class_index])
    evaluation = COCOeval(
        annotated,
        annotated.load_res(rows.astype(np.float64)),
        "bbox",
        lvis_style=negative is not None,
    )
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summary_lines()  # which makes the figures; `summarize` would print them as well
    assert evaluation.eval is not None
    return Measured.of(
        evaluation.get_results(),
        np.asarray(evaluation.eval["precision"]),
        COCO_METRICS if negative is None else METRICS,
    )
