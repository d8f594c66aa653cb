"""What LVIS's matching finds in each image, kept so that any draw of images can be scored.

An image's detections are matched to its own regions only, so drawing images anew changes how often
a match counts and nothing of the match itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from hotcoco import COCO, LVISEval
from numpy.typing import NDArray

from regionspot_evaluate.scoring.fast import categories, image_batches
from regionspot_evaluate.scoring.figures import Iou
from regionspot_evaluate.scoring.results import Results
from regionspot_evaluate.scoring.stand_ins import StandIns
from regionspot_evaluate.scoring.truth import Truth

AREAS = ("all", "small", "medium", "large")
THRESHOLDS = 10
"""IoU 0.50, 0.55 … 0.95."""
BATCH_IMAGES = 256
"""hotcoco's records are Python objects, so few images have them at a time."""
_BITS = (1 << np.arange(THRESHOLDS)).astype(np.uint16)


@dataclass(frozen=True)
class MatchRecords:
    """D judged detections by class and then from the highest score down; A areas, K classes.

    Of equal scores the image with the lower id goes first, as in LVIS's scorer.
    """

    images: int
    frequency: NDArray[np.str_]
    """(K,)"""
    image: NDArray[np.int32]
    """(D,) positions of their images."""
    class_index: NDArray[np.int32]
    """(D,) rising."""
    right: NDArray[np.uint16]
    """(A, D) bit t: matches a region that counts, by IoU threshold t."""
    counts: NDArray[np.uint16]
    """(A, D) bit t: is right or wrong, and not let be."""
    region_image: NDArray[np.int32]
    """(G,) of each image and class with regions."""
    region_class: NDArray[np.int32]
    """(G,)"""
    regions: NDArray[np.int32]
    """(A, G) how many of them count."""


def match_images(
    truth: Truth, results: Results, kept: NDArray[np.bool_], *, iou: Iou
) -> MatchRecords:
    """Match the detections that are ``kept``, (N,), by hotcoco, some images at a time."""
    found = [
        _match(truth, *batch, iou)
        for batch in image_batches(truth, results, kept, iou, size=BATCH_IMAGES)
    ]  # an entry a batch: seven columns
    image, class_index, score, right, counts, place, regions = (
        np.concatenate(column, axis=-1) for column in zip(*found, strict=True)
    )
    order = np.lexsort((image, -score, class_index))
    return MatchRecords(
        images=len(truth.image_id),
        frequency=np.array(truth.frequency),
        image=image[order],
        class_index=class_index[order],
        right=right[:, order],
        counts=counts[:, order],
        region_image=place[0],
        region_class=place[1],
        regions=regions,
    )


def _match(
    truth: Truth, stand_ins: StandIns, batch: Mapping[str, Any], iou: Iou
) -> tuple[NDArray[Any], ...]:
    annotated = COCO(
        {
            "images": batch["images"],
            "annotations": batch["gt_anns"],
            "categories": categories(truth),
        }
    )
    evaluation = LVISEval(annotated, annotated.load_res(_entries(batch)), iou)
    evaluation.evaluate()
    area_of = {tuple(limits): a for a, limits in enumerate(evaluation.params.area_rng)}
    by_area: list[list[dict[str, Any]]] = [[] for _ in AREAS]
    for entry in evaluation.eval_imgs:
        if entry is not None:
            by_area[area_of[tuple(entry["aRng"])]].append(entry)
    first = by_area[0]  # the others list the same detections in the same order
    image = stand_ins.image(np.array([e["image_id"] for e in first], np.int64)).astype(np.int32)
    classes = np.searchsorted(truth.class_id, [e["category_id"] for e in first]).astype(np.int32)
    times = [len(entry["dtScores"]) for entry in first]
    right, counts = np.array([_bits(entries) for entries in by_area]).swapaxes(0, 1)
    return (
        np.repeat(image, times),
        np.repeat(classes, times),
        np.array([score for entry in first for score in entry["dtScores"]], dtype=np.float64),
        right,
        counts,
        np.array([image, classes], dtype=np.int32).reshape(2, -1),
        np.array(
            [[sum(entry["gtInDenominator"]) for entry in entries] for entries in by_area],
            dtype=np.int32,
        ),
    )


def _bits(entries: list[dict[str, Any]]) -> NDArray[np.uint16]:
    """(2, D) the bits of ``right`` and ``counts`` of some entries' detections end to end."""
    matched, ignored = (_table(entries, key) for key in ("dtMatched", "dtIgnore"))
    return np.array([_BITS @ (matched & ~ignored), _BITS @ ~ignored], dtype=np.uint16)


def _table(entries: list[dict[str, Any]], key: str) -> NDArray[np.bool_]:
    """(T, D) by IoU threshold."""
    tables = [np.zeros((THRESHOLDS, 0), dtype=bool)]
    tables += [np.array(entry[key], dtype=bool) for entry in entries if entry["dtScores"]]
    return np.concatenate(tables, axis=1)


def _entries(batch: Mapping[str, Any]) -> Any:  # noqa: ANN401 - an array or a list of objects
    if "segmentation" not in batch:
        return batch["dt_anns"]
    return list(_masked(batch))


def _masked(batch: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for row, mask in zip(batch["dt_anns"].tolist(), batch["segmentation"], strict=True):
        yield {
            "image_id": int(row[0]),
            "bbox": row[1:5],
            "score": row[5],
            "category_id": int(row[6]),
            "segmentation": mask,
        }
