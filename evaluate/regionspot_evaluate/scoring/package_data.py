"""Annotations and detections as the reference packages take them: dicts in memory, no file.

The packages would read a file in ways of their own. Given what the annotation table holds, all of
them score the same regions.
"""

from __future__ import annotations

from typing import Any

from regionspot_core.datasets.truth import Truth
from regionspot_evaluate.scoring.results import Results


def package_annotations(truth: Truth) -> dict[str, list[dict[str, Any]]]:
    """Return the annotations in COCO's and LVIS's layout.

    Regions are numbered anew from 1: LVIS's API and pycocotools take whatever matches number 0 for
    unmatched, and Roboflow, and so ODinW, numbers from 0.
    """
    image_id, class_id = truth.image_id.tolist(), truth.class_id.tolist()
    return {
        "images": [
            {
                "id": number,
                "height": height,
                "width": width,
                "neg_category_ids": truth.class_id[truth.negative[image]].tolist(),
                "not_exhaustive_category_ids": (
                    truth.class_id[truth.not_exhaustive[image]].tolist()
                ),
            }
            for image, (number, (height, width)) in enumerate(
                zip(image_id, truth.image_size.tolist(), strict=True)
            )
        ],
        "categories": [
            {"id": number, "name": str(number), "frequency": frequency}
            for number, frequency in zip(class_id, truth.frequency, strict=True)
        ],
        "annotations": [
            {
                "id": region + 1,
                "image_id": image_id[image],
                "category_id": class_id[class_index],
                "bbox": box,
                "area": area,
                "iscrowd": int(crowd),
                "ignore": int(ignored),
                "segmentation": truth.masks and truth.masks.rle(region),
            }
            for region, (image, class_index, box, area, crowd, ignored) in enumerate(
                zip(
                    truth.image.tolist(),
                    truth.class_index.tolist(),
                    truth.box.tolist(),
                    truth.area.tolist(),
                    truth.crowd.tolist(),
                    truth.ignored.tolist(),
                    strict=True,
                )
            )
        ],
    }


def package_detections(truth: Truth, results: Results) -> list[dict[str, Any]]:
    """Return the detections of results that are all judged, as COCO's are."""
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
