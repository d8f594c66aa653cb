"""Average precision in parts: by class, as curves, by TIDE's errors, and how far scores are true.

By hotcoco, whose figures the tests hold against naive code. Its ΔAP are tidecv's: where several
detections would be mended onto one annotated box, Cls and Loc alike, the best scored one is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from hotcoco import COCO, COCOeval, LVISEval
from numpy.typing import NDArray

from regionspot_core.datasets.record import AnnotationSet
from regionspot_core.datasets.truth import Truth
from regionspot_core.datasets.vocabulary import Vocabulary
from regionspot_core.imaging.boxes import xyxy_to_xywh
from regionspot_core.scoring.figures import COCO_METRICS, METRICS
from regionspot_core.scoring.lvis import named_figures
from regionspot_evaluate.reports.html.read_run import Detections
from regionspot_evaluate.scoring.classification import FREQUENCY_NAMES
from regionspot_evaluate.scoring.fast import truth_entries

TIDE_ERRORS = ("Cls", "Loc", "Both", "Dupe", "Bkg", "Miss")
"""Kinds of error of Bolya et al. 2020 (arXiv 2008.08115)."""
BINS = 10
CURVES = {"IoU 0.50": slice(0, 1), "IoU 0.75": slice(5, 6), "mean of IoU 0.50–0.95": slice(0, 10)}
"""Slice of the ten IoU thresholds that a curve is the mean of."""


@dataclass(frozen=True)
class Bin:
    """The detections whose scores lie in one part of 0 to 1."""

    low: float
    high: float
    count: int
    mean_score: float
    right: float
    """Share that matches an annotated box of its class with an IoU of 0.5 or more."""


@dataclass(frozen=True)
class Precision:
    """Box average precision and its parts, K classes."""

    figures: dict[str, float | None]
    """Figures by their names: LVIS's, or COCO's."""
    class_ap: NDArray[np.float64]
    """(K,) NaN where the class has no annotated box."""
    class_ap50: NDArray[np.float64]
    class_curve: NDArray[np.float64]
    """(K, 101) precision at recall 0, 0.01 … 1 and IoU 0.5."""
    curves: dict[str, dict[str, list[float]]]
    """Mean precisions at 101 recalls, by name in ``CURVES``, then ``all`` and frequency."""
    tide: dict[str, float]
    """Gain of AP50 if the errors of each kind in ``TIDE_ERRORS`` were mended."""
    tide_counts: dict[str, int]
    calibration: list[Bin]
    """Parts with no detection are left out."""
    calibration_error: float
    """Mean distance of score and precision over all counted detections (ECE)."""


def measure_precision(
    annotations: AnnotationSet, truth: Truth, detections: Detections
) -> Precision:
    """Score detections against one annotation file, read for the report and for scoring.

    By LVIS's rules where the annotations are read with its lists, else by COCO's.
    """
    evaluation = _evaluate(truth, annotations, detections)
    vocabulary = annotations.vocabulary
    precision_TRK = class_precision(evaluation, vocabulary)
    tide, calibration = evaluation.tide_errors(), evaluation.calibration(n_bins=BINS)
    return Precision(
        figures=named_figures(evaluation.get_results(), metrics_of(truth)),
        class_ap=precision_TRK.mean(axis=(0, 1)),
        class_ap50=precision_TRK[0].mean(axis=0),
        class_curve=precision_TRK[0].T,
        curves=_curves(precision_TRK, np.array(vocabulary.frequencies)),
        tide={name: float(tide["delta_ap"][name]) for name in TIDE_ERRORS},
        tide_counts={name: int(tide["counts"][name]) for name in TIDE_ERRORS},
        calibration=[
            Bin(b["bin_lower"], b["bin_upper"], b["count"], b["avg_confidence"], b["avg_accuracy"])
            for b in calibration["bins"]
            if b["count"]
        ],
        calibration_error=float(calibration["ece"]),
    )


def metrics_of(truth: Truth) -> tuple[str, ...]:
    """Return the names of the figures that annotations are scored by."""
    return METRICS if truth.federated else COCO_METRICS


def class_precision(
    evaluation: Any,  # noqa: ANN401 - hotcoco has no types of its own
    vocabulary: Vocabulary,
) -> NDArray[np.float64]:
    """Return (T, R, K): precision at ten IoUs and 101 recalls; NaN for classes without regions."""
    by_id = {int(name): place for place, name in enumerate(evaluation.params.cat_ids)}
    order = [by_id[class_id] for class_id in vocabulary.ids]
    precision = np.asarray(evaluation.eval["precision"], dtype=np.float64)[:, :, order, 0, -1]
    precision[precision < 0] = np.nan
    return precision


def _evaluate(truth: Truth, annotations: AnnotationSet, detections: Detections) -> Any:  # noqa: ANN401 - hotcoco has no types of its own
    annotated = COCO(truth_entries(truth))
    # Others are let be by LVIS, and hotcoco takes hundreds of bytes for each.
    judged = np.flatnonzero(detections.judged)
    image = np.repeat(annotations.image_id, np.diff(detections.start))[judged]
    class_id = np.array(annotations.vocabulary.ids, dtype=np.int64)[detections.class_index[judged]]
    box, score = xyxy_to_xywh(detections.box[judged]), detections.score[judged]
    rows = np.column_stack([image, box, score, class_id]).astype(np.float64)
    if truth.federated:
        rows = rows[rows[:, 3] * rows[:, 4] > 0]  # LVIS's API leaves out those without an area
    scorer = LVISEval if truth.federated else COCOeval
    evaluation = scorer(annotated, annotated.load_res(rows), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summary_lines()  # which makes the figures; `summarize` would print them as well
    return evaluation


def _curves(
    precision_TRK: NDArray[np.float64], frequency: NDArray[np.str_]
) -> dict[str, dict[str, list[float]]]:
    groups = {"all": np.ones(len(frequency), dtype=bool)}
    groups |= {name: frequency == mark for mark, name in FREQUENCY_NAMES.items()}
    measured = ~np.isnan(precision_TRK[0, 0])
    return {
        curve: {
            name: precision_TRK[thresholds][:, :, members & measured].mean(axis=(0, 2)).tolist()
            for name, members in groups.items()
            if (members & measured).any()
        }
        for curve, thresholds in CURVES.items()
    }
