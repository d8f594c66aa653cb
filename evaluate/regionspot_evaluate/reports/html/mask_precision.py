"""Average precision of a run's masks, all together and by class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from regionspot_core.datasets import AnnotationSet
from regionspot_core.scoring.lvis import named_figures
from regionspot_evaluate.reports.html.precision import class_precision
from regionspot_evaluate.reports.html.read_run import has_masks
from regionspot_evaluate.scoring.fast import departure, evaluate_fast
from regionspot_evaluate.scoring.results import read_results
from regionspot_evaluate.scoring.selection import kept_detections
from regionspot_evaluate.scoring.truth import read_truth


@dataclass(frozen=True)
class MaskPrecision:
    """Mask average precision by LVIS's protocol, K classes."""

    figures: dict[str, float | None]
    """By ``METRICS``."""
    class_ap: NDArray[np.float64]
    """(K,) NaN where the class has no annotated region."""


def measure_masks(annotations: AnnotationSet, results: Path) -> MaskPrecision | None:
    """Score a results file's masks; None where it or the annotations have none.

    None too where hotcoco's figures would not be those of LVIS's own package, which has no figures
    by class to take instead.

    Raises:
        AnnotationError: Some detections have no mask, or one that does not fit its image.
    """
    if not has_masks(results):
        return None
    truth = read_truth(annotations.path, federated=True, masks=True)
    if not truth.has_mask.all():
        return None
    found = read_results(results, truth, ious=("segm",))
    kept = kept_detections(found, "standard")
    if departure(truth, found, kept) is not None:
        return None
    evaluation = evaluate_fast(truth, found, kept, iou="segm")
    return MaskPrecision(
        figures=named_figures(evaluation.get_results()),
        class_ap=class_precision(evaluation, annotations.vocabulary).mean(axis=(0, 1)),
    )
