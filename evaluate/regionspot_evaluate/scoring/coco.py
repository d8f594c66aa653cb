"""COCO average precision by pycocotools, for annotations without LVIS's federated lists."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from regionspot_core.datasets.reading import read_table
from regionspot_core.datasets.table import AnnotationTable
from regionspot_core.datasets.truth import Truth
from regionspot_evaluate.scoring.figures import (
    COCO_DETECTIONS,
    COCO_METRICS,
    COCO_PROTOCOL,
    Iou,
    Protocol,
    Score,
)
from regionspot_evaluate.scoring.results import Results, read_results
from regionspot_evaluate.scoring.selection import best_of_each, count_detections


class CocoScorer:
    """COCO's scorer over one annotation table, checked once.

    Args:
        annotations: A file of COCO's layout, a folder of ODinW's that has one, or its table.
        ious: Kinds of region that will be scored.

    Raises:
        AnnotationError: If the file is missing or malformed.
    """

    def __init__(self, annotations: Path | AnnotationTable, *, ious: Sequence[Iou]) -> None:
        if isinstance(annotations, Path):
            annotations = read_table(annotations, masks="segm" in ious)
        self.truth = annotations.truth(federated=False)
        if "segm" in ious:
            self.truth.require_masks()
        self._coco = _indexed(self.truth)

    def score_all(
        self,
        detections: Path | Results,
        *,
        ious: Sequence[Iou],
        protocols: Sequence[Protocol] = ("coco",),
        may_be_empty: bool = False,
    ) -> dict[Protocol, dict[Iou, Score]]:
        """Score a COCO results file, by COCO's one protocol; see :class:`Scorer`."""
        results = detections
        if isinstance(results, Path):
            results = read_results(results, self.truth, ious=ious, may_be_empty=may_be_empty)
        cell = results.image.astype(np.int64) * len(self.truth.class_id) + results.class_index
        _, cell = np.unique(cell, return_inverse=True)
        kept = best_of_each(cell, results.score, limit=COCO_DETECTIONS)
        counts = count_detections(self.truth, results, kept)
        entries = _entries(self.truth, results)
        scores = {
            iou: Score(
                iou, self._figures(entries, iou), COCO_PROTOCOL, "reference", "pycocotools", counts
            )
            for iou in ious
        }
        return dict.fromkeys(protocols, scores)

    def _figures(self, entries: list[dict[str, Any]], iou: Iou) -> dict[str, float | None]:
        with redirect_stdout(io.StringIO()):
            copies = list(map(dict, entries))  # the package adds to them
            found = self._coco.loadRes(copies) if copies else _without_annotations(self._coco)
            evaluation = COCOeval(self._coco, found, iou)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        figures = zip(COCO_METRICS, evaluation.stats.tolist(), strict=True)
        return {name: None if value < 0 else value for name, value in figures}


def _without_annotations(coco: COCO) -> COCO:
    """Return the index of no detections, which ``loadRes`` cannot make."""
    empty = COCO()
    empty.dataset = coco.dataset | {"annotations": []}
    empty.createIndex()
    return empty


def _indexed(truth: Truth) -> COCO:
    """Return pycocotools' index of the annotations.

    They are numbered anew from 1: pycocotools takes whatever matches number 0 for unmatched, and
    Roboflow, and so ODinW, numbers from 0.
    """
    image_id, class_id = truth.image_id.tolist(), truth.class_id.tolist()
    rows = zip(
        truth.image.tolist(),
        truth.class_index.tolist(),
        truth.box.tolist(),
        truth.area.tolist(),
        truth.crowd.tolist(),
        strict=True,
    )
    coco = COCO()
    coco.dataset = {
        "images": [
            {"id": number, "height": height, "width": width}
            for number, (height, width) in zip(image_id, truth.image_size.tolist(), strict=True)
        ],
        "categories": [{"id": number, "name": str(number)} for number in class_id],
        "annotations": [
            {
                "id": row + 1,
                "image_id": image_id[image],
                "category_id": class_id[class_index],
                "bbox": box,
                "area": area,
                "iscrowd": int(crowd),
                "segmentation": truth.masks and truth.masks.rle(row),
            }
            for row, (image, class_index, box, area, crowd) in enumerate(rows)
        ],
    }
    with redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def _entries(truth: Truth, results: Results) -> list[dict[str, Any]]:
    """Return the detections as pycocotools takes them; without federated lists all are judged."""
    sizes = truth.image_size[results.image].tolist()
    entries: list[dict[str, Any]] = [
        {"image_id": image_id, "category_id": class_id, "score": score}
        for image_id, class_id, score in zip(
            truth.image_id[results.image].tolist(),
            truth.class_id[results.class_index].tolist(),
            results.score.tolist(),
            strict=True,
        )
    ]
    for row, entry in enumerate(entries):
        if results.box is not None:
            entry["bbox"] = results.box[row].tolist()
        if len(results.counts_start) > 1:
            height, width = sizes[row]
            entry["segmentation"] = results.rle(row, (height, width))
    return entries
