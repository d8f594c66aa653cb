"""COCO average precision by pycocotools, for annotations without LVIS's federated lists."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from regionspot_core.datasets.odinw import find_odinw
from regionspot_evaluate.scoring.figures import (
    COCO_DETECTIONS,
    COCO_METRICS,
    COCO_PROTOCOL,
    Iou,
    Score,
)
from regionspot_evaluate.scoring.results import read_entries, read_results
from regionspot_evaluate.scoring.selection import best_of_each, count_detections
from regionspot_evaluate.scoring.truth import read_truth


class CocoScorer:
    """One annotation file of COCO's layout, read and checked once.

    Args:
        annotations: The file, or a folder of ODinW's that has it.
        ious: What will be scored.

    Raises:
        AnnotationError: The file is missing or malformed.
    """

    def __init__(self, annotations: Path, *, ious: Sequence[Iou]) -> None:
        path = find_odinw(annotations) if annotations.is_dir() else annotations
        self.truth = read_truth(path, federated=False, masks="segm" in ious)
        if "segm" in ious:
            self.truth.require_masks()
        self._coco = _read(path)

    def score_all(self, detections: Path, *, ious: Sequence[Iou]) -> dict[Iou, Score]:
        """Score a COCO results file.

        Raises:
            AnnotationError: The file is missing, malformed or empty, or has a detection that
                cannot be scored.
        """
        results = read_results(detections, self.truth, ious=ious)
        cell = results.image.astype(np.int64) * len(self.truth.class_id) + results.class_index
        _, cell = np.unique(cell, return_inverse=True)
        kept = best_of_each(cell, results.score, limit=COCO_DETECTIONS)
        counts = count_detections(self.truth, results, kept)
        entries = read_entries(detections, self.truth, ious=ious)
        return {
            iou: Score(iou, self._figures(entries, iou), COCO_PROTOCOL, "coco", counts)
            for iou in ious
        }

    def _figures(self, entries: list[dict[str, Any]], iou: Iou) -> dict[str, float | None]:
        with redirect_stdout(io.StringIO()):
            copies = list(map(dict, entries))  # the package adds to them
            evaluation = COCOeval(self._coco, self._coco.loadRes(copies), iou)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        figures = zip(COCO_METRICS, evaluation.stats.tolist(), strict=True)
        return {name: None if value < 0 else value for name, value in figures}


def _read(path: Path) -> COCO:
    """pycocotools' index of a file that was checked.

    Annotations are numbered anew from 1: pycocotools takes whatever matches number 0 for
    unmatched, and Roboflow, and so ODinW, numbers from 0. Without ``iscrowd`` nothing is a crowd,
    and without ``area`` it is the box's.
    """
    dataset = json.loads(path.read_bytes())
    for number, entry in enumerate(dataset["annotations"], start=1):
        entry["id"] = number
        entry["iscrowd"] = entry.get("iscrowd") or 0
        entry.setdefault("area", entry["bbox"][2] * entry["bbox"][3])
    coco = COCO()
    coco.dataset = dataset
    with redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco
