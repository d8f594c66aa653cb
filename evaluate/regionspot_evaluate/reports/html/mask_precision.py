"""Average precision of a run's masks, all together and by class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regionspot_core.datasets.record import AnnotationSet
from regionspot_core.datasets.truth import Truth
from regionspot_core.scoring.lvis import named_figures
from regionspot_evaluate.reports.html.precision import class_precision, metrics_of
from regionspot_evaluate.scoring.fast import departure, evaluate_fast
from regionspot_evaluate.scoring.results import Results
from regionspot_evaluate.scoring.selection import kept_detections, protocol_of


@dataclass(frozen=True)
class MaskPrecision:
    """Mask average precision, K classes."""

    figures: dict[str, float | None]
    """Figures by their names: LVIS's, or COCO's."""
    class_ap: NDArray[np.float64]
    """(K,) NaN where the class has no annotated region."""


def measure_masks(
    annotations: AnnotationSet, truth: Truth, results: Results
) -> MaskPrecision | None:
    """Score the masks of results that were read with them.

    Returns:
        None where hotcoco's figures would not be those of LVIS's own package, which has no figures
        by class to take instead.
    """
    kept = kept_detections(results, protocol_of(truth))
    if departure(truth, results, kept) is not None:
        return None
    evaluation = evaluate_fast(truth, results, kept, iou="segm")
    return MaskPrecision(
        figures=named_figures(evaluation.get_results(), metrics_of(truth)),
        class_ap=class_precision(evaluation, annotations.vocabulary).mean(axis=(0, 1)),
    )
