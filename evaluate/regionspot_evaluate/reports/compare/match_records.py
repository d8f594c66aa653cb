"""What matching finds in each image, kept so that any draw of images can be scored.

An image's detections are matched to its own regions only, so drawing images anew changes how often
a match counts and nothing of the match itself.

LVIS's rules and COCO's match alike, within one class of one image. They differ in what they let be:
LVIS detections without an area, and wrong ones of classes that are not annotated exhaustively in
the image; COCO whatever matches a crowd.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from hotcoco import COCO, COCOeval, LVISEval
from numpy.typing import NDArray
from pycocotools import mask as codec

from regionspot_core.datasets.truth import Truth
from regionspot_core.scoring.figures import COCO_METRICS, METRICS
from regionspot_evaluate.scoring.fast import categories, image_batches
from regionspot_evaluate.scoring.figures import Iou
from regionspot_evaluate.scoring.image_splits import ImageSplits
from regionspot_evaluate.scoring.results import Results

AREAS = {
    "all": (0, 1e10),
    "small": (0, 32**2),
    "medium": (32**2, 96**2),
    "large": (96**2, 1e10),
}
"""Both rules', in square pixels; both ends belong to them."""
THRESHOLDS = 10
"""IoU 0.50, 0.55 … 0.95."""
BATCH_IMAGES = 256
"""hotcoco's records are Python objects, so few images have them at a time."""
EVERY_THRESHOLD = np.uint16((1 << THRESHOLDS) - 1)
BITS = (1 << np.arange(THRESHOLDS)).astype(np.uint16)
"""(T,)"""
_Columns = tuple[NDArray[Any], ...]


@dataclass(frozen=True)
class MatchRecords:
    """D judged detections by class and then from the highest score down; A areas, K classes.

    Of equal scores the image with the lower id goes first, as in both rules' scorers.
    """

    images: int
    metrics: tuple[str, ...]
    """Figures of the rules that the detections were matched by."""
    frequency: NDArray[np.str_]
    """(K,)"""
    image: NDArray[np.int32]
    """(D,) positions of their images."""
    class_index: NDArray[np.int32]
    """(D,) rising."""
    rank: NDArray[np.int32]
    """(D,) numbers of detections of the same class and image that stand before them."""
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
    """Match the detections that are ``kept``, (N,), to the regions of their image and class.

    hotcoco matches where an image has regions of the class, some images at a time. Elsewhere
    nothing can match, and making hotcoco's records of it would take most of the time.
    """
    regions = truth.image[truth.counts] * len(truth.class_id) + truth.class_index[truth.counts]
    pairs = results.image.astype(np.int64) * len(truth.class_id) + results.class_index
    has_regions = np.isin(pairs, regions)
    batches = image_batches(truth, results, kept & has_regions, iou, size=BATCH_IMAGES)
    matched = [_match(truth, *batch, iou) for batch in batches]
    image, class_index, score, right, counts, place, region_counts = (
        np.concatenate(column, axis=-1) for column in zip(*matched, strict=True)
    )
    wrong = _without_regions(truth, results, kept & ~has_regions)
    image, class_index, score, right, counts = (
        np.concatenate(columns, axis=-1)
        for columns in zip((image, class_index, score, right, counts), wrong, strict=True)
    )
    order = np.lexsort((image, -score, class_index))
    image, class_index = image[order], class_index[order]
    return MatchRecords(
        images=len(truth.image_id),
        metrics=METRICS if truth.federated else COCO_METRICS,
        frequency=np.array(truth.frequency),
        image=image,
        class_index=class_index,
        rank=_ranks(image, class_index),
        right=right[:, order],
        counts=counts[:, order],
        region_image=place[0],
        region_class=place[1],
        regions=region_counts,
    )


def _ranks(image: NDArray[np.int32], class_index: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return (D,) how many detections of the same class and image come before each, in order."""
    order = np.lexsort((image, class_index))  # which keeps the order of those alike
    new = (np.diff(image[order], prepend=-1) != 0) | (np.diff(class_index[order], prepend=-1) != 0)
    place = np.arange(len(order), dtype=np.int32)
    rank = np.empty_like(place)
    rank[order] = place - np.maximum.accumulate(np.where(new, place, 0))
    return rank


def _without_regions(truth: Truth, results: Results, kept: NDArray[np.bool_]) -> _Columns:
    """Return image, class, score, ``right`` and ``counts`` where there is nothing to match.

    All detections are wrong there, but for those that are let be: outside the sizes that are
    measured, and by LVIS's rules of classes that are not annotated exhaustively in the image.
    """
    rows = np.flatnonzero(kept[results.judged])
    area = _areas(truth, results, rows)
    if truth.federated:
        rows, area = rows[area > 0], area[area > 0]
    places = results.judged[rows]
    image, class_index = results.image[places], results.class_index[places]
    judged = np.ones(len(rows), dtype=bool)
    if truth.federated:
        pairs = image.astype(np.int64) * len(truth.class_id) + class_index
        judged = ~np.isin(pairs, truth.not_exhaustive.pairs(len(truth.class_id)))
    counts = [judged & (area >= low) & (area <= high) for low, high in AREAS.values()]
    return (
        image,
        class_index,
        results.score[places],
        np.zeros((len(AREAS), len(rows)), dtype=np.uint16),
        np.array(counts) * EVERY_THRESHOLD,
    )


def _areas(truth: Truth, results: Results, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the areas of judged detections: of boxes, or of masks where a file has no boxes."""
    if results.box is not None:
        area: NDArray[np.float64] = results.box[rows, 2:].prod(axis=1)
        return area
    sizes = truth.image_size[results.image[results.judged[rows]]].tolist()
    masks = (results.rle(row, (h, w)) for row, (h, w) in zip(rows.tolist(), sizes, strict=True))
    return np.fromiter(map(codec.area, masks), np.float64, len(rows))


def _match(truth: Truth, splits: ImageSplits, batch: Mapping[str, Any], iou: Iou) -> _Columns:
    annotated = COCO(
        {
            "images": batch["images"],
            "annotations": batch["gt_anns"],
            "categories": categories(truth),
        }
    )
    scorer = LVISEval if truth.federated else COCOeval
    evaluation = scorer(annotated, annotated.load_res(_entries(batch)), iou)
    evaluation.evaluate()
    area_of = {limits: a for a, limits in enumerate(AREAS.values())}
    by_area: list[list[dict[str, Any]]] = [[] for _ in AREAS]
    for entry in evaluation.eval_imgs:
        if entry is not None:
            by_area[area_of[tuple(entry["aRng"])]].append(entry)
    first = by_area[0]  # the others list the same detections in the same order
    image = splits.image(np.array([e["image_id"] for e in first], np.int64)).astype(np.int32)
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
    """Return (2, D): ``right`` and ``counts`` of some entries' detections end to end."""
    matched, ignored = (_table(entries, key) for key in ("dtMatched", "dtIgnore"))
    return np.array([BITS @ (matched & ~ignored), BITS @ ~ignored], dtype=np.uint16)


def _table(entries: list[dict[str, Any]], key: str) -> NDArray[np.bool_]:
    """Return (T, D) values by IoU threshold."""
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
