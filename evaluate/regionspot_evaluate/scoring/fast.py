"""Figures by hotcoco, images by images, so that memory holds few of them at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from hotcoco import StreamingEval
from numpy.typing import NDArray
from pycocotools import mask as codec

from regionspot_core.datasets.truth import Truth
from regionspot_core.scoring.figures import COCO_METRICS, DETECTIONS, METRICS
from regionspot_core.scoring.lvis import Measured
from regionspot_evaluate.scoring.figures import Iou
from regionspot_evaluate.scoring.image_splits import ImageSplits
from regionspot_evaluate.scoring.results import Results

BATCH_IMAGES = 1_024


def departure(truth: Truth, results: Results, kept: NDArray[np.bool_]) -> str | None:
    """Return why hotcoco's figures would differ from the reference's; None where they do not.

    Found by comparison: hotcoco 1.3 and pycocotools 2.0.11 agree, hotcoco and lvis 0.5.3 not
    everywhere. By LVIS's rules other differences are removed by what hotcoco is given: detections
    within the limit only, several images in place of one with more than it takes, no region or
    detection without an area, which LVIS's API leaves out, and no ``iscrowd``, which it does not
    read.
    """
    if (why := departure_of_truth(truth)) is not None:
        return why
    if not truth.federated:
        return None
    rows = results.judged[kept[results.judged]]
    pairs = results.image[rows].astype(np.int64) * len(truth.class_id) + results.class_index[rows]
    _, times = np.unique(pairs, return_counts=True)
    if times.max(initial=0) > DETECTIONS:
        return f"an image has more than {DETECTIONS} detections of one class"
    return None


def departure_of_truth(truth: Truth) -> str | None:
    """Return the reason that the annotations alone give for :func:`departure`."""
    if truth.federated and truth.ignored.any():
        return "an annotation has the key ignore set"
    return None


def score_fast(truth: Truth, results: Results, kept: NDArray[np.bool_], *, iou: Iou) -> Measured:
    """Return the figures of the detections that are ``kept``, (N,): LVIS's, or COCO's."""
    evaluation = evaluate_fast(truth, results, kept, iou=iou)
    return Measured.of(
        evaluation.get_results(),
        np.asarray(evaluation.eval["precision"]),
        METRICS if truth.federated else COCO_METRICS,
    )


def evaluate_fast(truth: Truth, results: Results, kept: NDArray[np.bool_], *, iou: Iou) -> Any:  # noqa: ANN401 - a hotcoco.LVISEval; the package is untyped
    """Return hotcoco's evaluation of the detections that are ``kept``, (N,), accumulated."""
    evaluation = StreamingEval(categories(truth), iou, lvis_style=truth.federated)
    for _, batch in image_batches(truth, results, kept, iou):
        evaluation.update(**batch)
    figures = evaluation.finalize()
    figures.accumulate()
    figures.summary_lines()  # which makes the figures; `summarize` would print them as well
    return figures


def categories(truth: Truth) -> list[dict[str, Any]]:
    """Return the classes as hotcoco takes them."""
    return [
        {"id": class_id, "name": str(class_id), "frequency": frequency}
        for class_id, frequency in zip(truth.class_id.tolist(), truth.frequency, strict=True)
    ]


def truth_entries(truth: Truth) -> dict[str, list[dict[str, Any]]]:
    """Return the annotations as hotcoco takes them, boxes alone, images by their own ids."""
    return {
        "images": [
            _image(truth, image, image_id, truth.negative[image], truth.not_exhaustive[image])
            for image, image_id in enumerate(truth.image_id.tolist())
        ],
        "annotations": [
            _region(truth, region, int(truth.image_id[truth.image[region]]), "bbox")
            for region in np.flatnonzero(truth.counts).tolist()
        ],
        "categories": categories(truth),
    }


def image_batches(
    truth: Truth,
    results: Results,
    kept: NDArray[np.bool_],
    iou: Iou,
    *,
    size: int = BATCH_IMAGES,
) -> Iterator[tuple[ImageSplits, Mapping[str, Any]]]:
    """Yield hotcoco's input for ``size`` images at a time, by rising id, and their splits."""
    regions = np.flatnonzero(truth.counts)
    regions = regions[np.argsort(truth.image[regions], kind="stable")]
    rows = np.flatnonzero(kept[results.judged])
    rows = rows[np.argsort(results.image[results.judged[rows]], kind="stable")]
    edges = np.arange(0, len(truth.image_id) + size, size)
    region_edges = np.searchsorted(truth.image[regions], edges)
    row_edges = np.searchsorted(results.image[results.judged[rows]], edges)
    for n, first in enumerate(edges[:-1].tolist()):
        images = range(first, min(first + size, len(truth.image_id)))
        own = rows[row_edges[n] : row_edges[n + 1]]
        splits = ImageSplits(results, own, len(truth.class_id))
        yield (
            splits,
            {
                "images": [each for image in images for each in _images(truth, image, splits)],
                "gt_anns": [
                    _region(truth, region, _split_image_id(truth, region, splits), iou)
                    for region in regions[region_edges[n] : region_edges[n + 1]].tolist()
                ],
                **_detections(truth, results, own, splits, iou),
            },
        )


def _images(truth: Truth, image: int, splits: ImageSplits) -> Iterator[dict[str, Any]]:
    """Yield the images that stand for one, each with its share of the image's class lists."""
    lists = truth.negative[image], truth.not_exhaustive[image]
    count = splits.count(image)
    if count == 1:
        yield _image(truth, image, splits.id(image, 0), *lists)
        return
    for number in range(count):
        negative, not_exhaustive = (
            [k for k in classes.tolist() if splits.number(image, k) == number] for classes in lists
        )
        yield _image(truth, image, splits.id(image, number), negative, not_exhaustive)


def _image(
    truth: Truth,
    image: int,
    image_id: int,
    negative: Sequence[int] | NDArray[np.int32],
    not_exhaustive: Sequence[int] | NDArray[np.int32],
) -> dict[str, Any]:
    height, width = truth.image_size[image].tolist()
    return {
        "id": image_id,
        "height": height,
        "width": width,
        "neg_category_ids": truth.class_id[negative].tolist(),
        "not_exhaustive_category_ids": truth.class_id[not_exhaustive].tolist(),
    }


def _split_image_id(truth: Truth, region: int, splits: ImageSplits) -> int:
    image = int(truth.image[region])
    return splits.id(image, splits.number(image, int(truth.class_index[region])))


def _region(truth: Truth, region: int, image_id: int, iou: Iou) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "id": region + 1,  # for 0 means unmatched, and a negative id is not taken
        "image_id": image_id,
        "category_id": int(truth.class_id[truth.class_index[region]]),
        "bbox": truth.box[region].tolist(),
        "area": float(truth.area[region]),
        "iscrowd": int(truth.crowd[region] and not truth.federated),
    }
    if iou == "segm":
        assert truth.masks is not None
        rle = truth.masks.rle(region)
        assert rle is not None
        entry["segmentation"] = rle | {"counts": rle["counts"].decode("ascii")}
    return entry


def _detections(
    truth: Truth, results: Results, rows: NDArray[np.int64], splits: ImageSplits, iou: Iou
) -> dict[str, Any]:
    """Return the judged detections ``rows``; those without an area are left out, as LVIS does."""
    if results.box is not None and truth.federated:
        rows = rows[results.box[rows, 2:].prod(axis=1) > 0]
    places = results.judged[rows]
    image = results.image[places]
    image_id = splits.ids(image, results.class_index[places])
    class_id, score = truth.class_id[results.class_index[places]], results.score[places]
    masks = []
    if iou == "segm":
        sizes = truth.image_size[image].tolist()
        masks = [
            results.rle(row, (height, width))
            for row, (height, width) in zip(rows.tolist(), sizes, strict=True)
        ]
    if results.box is None:
        columns = zip(image_id.tolist(), class_id.tolist(), score.tolist(), masks, strict=True)
        keys = ("image_id", "category_id", "score", "segmentation")
        entries = [dict(zip(keys, values, strict=True)) for values in columns]
        # One by one: of more than 255 masks together pycocotools 2.0.11 raises OverflowError.
        areas = map(codec.area, masks)
        return {
            "dt_anns": [
                entry
                for entry, area in zip(entries, areas, strict=True)
                if area or not truth.federated
            ]
        }
    table = np.column_stack([image_id, results.box[rows], score, class_id]).astype(np.float64)
    return {"dt_anns": table} | ({"segmentation": masks} if masks else {})
