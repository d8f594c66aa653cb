"""pycocotools, the official scorer of COCO's rules."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from typing import Any

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from regionspot_core.datasets.truth import Truth
from regionspot_core.scoring.lvis import Measured
from regionspot_evaluate.scoring.figures import COCO_METRICS, Iou
from regionspot_evaluate.scoring.package_data import package_annotations


class CocoReference:
    """pycocotools over one data set's annotations, indexed once."""

    def __init__(self, truth: Truth) -> None:
        self._coco = _indexed(package_annotations(truth))

    def score(self, detections: list[dict[str, Any]], *, iou: Iou) -> Measured:
        """Return COCO's figures of detections, and each class's; the package adds to them."""
        with redirect_stdout(io.StringIO()):
            # `loadRes` cannot take an empty list.
            found = (
                self._coco.loadRes(detections)
                if detections
                else _indexed(self._coco.dataset | {"annotations": []})
            )
            evaluation = COCOeval(self._coco, found, iou)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        found = dict(zip(COCO_METRICS, evaluation.stats.tolist(), strict=True))
        return Measured.of(found, evaluation.eval["precision"], COCO_METRICS)


def _indexed(dataset: dict[str, Any]) -> COCO:
    coco = COCO()
    coco.dataset = dataset
    with redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco
