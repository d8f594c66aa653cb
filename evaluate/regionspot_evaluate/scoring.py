"""LVIS average precision of a results file, by the standard protocol (300 detections an image)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Literal

from regionspot_core.datasets.checks import whole_number
from regionspot_core.datasets.coco import Entry, read_tables
from regionspot_core.errors import AnnotationError
from regionspot_core.lvis_scoring import FREQUENCIES, named_figures
from regionspot_evaluate.lvis_reference import ReferenceScorer

Iou = Literal["bbox", "segm"]


@dataclass(frozen=True)
class Score:
    """Figures between 0 and 1; None where the annotations have no instance to measure on."""

    iou: Iou
    values: dict[str, float | None]

    def __getitem__(self, name: str) -> float | None:
        return self.values[name]


class LvisScorer:
    """The official ``lvis`` package over one annotation file, read and checked once.

    Raises:
        AnnotationError: The file is missing or malformed, or lacks LVIS's federated lists or
            frequencies.
    """

    def __init__(self, annotations: Path) -> None:
        self._image_ids = _check_lvis(annotations)
        self._reference = ReferenceScorer(annotations)

    def score(self, detections: Path, *, iou: Iou) -> Score:
        """Score an LVIS results file.

        Raises:
            AnnotationError: The file is missing, malformed or empty, or names unknown images.
        """
        _require_detections(detections, iou, self._image_ids)
        raw = self._reference.score(detections, iou=iou)
        return Score(iou, named_figures(raw))


def _check_lvis(path: Path) -> set[int]:
    """Refuse a file that LVIS's protocol cannot score by; the ids of its images."""
    image_ids = set[int]()

    def image(entry: Entry) -> None:
        keys = ("neg_category_ids", "not_exhaustive_category_ids")
        _require_keys(path, "images", ("id", *keys), entry)
        lists = tuple(entry[key] for key in keys)
        if not all(isinstance(ids, list) for ids in lists):
            raise AnnotationError(
                f"{path}: LVIS scoring needs lists as {' and '.join(keys)}; image {entry['id']} "
                f"has {lists}"
            )
        image_ids.add(whole_number(path, "an image's id", entry["id"]))

    def category(entry: Entry) -> None:
        _require_keys(path, "categories", ("id", "frequency"), entry)
        if entry["frequency"] not in FREQUENCIES:
            raise AnnotationError(
                f"{path}: LVIS scoring needs a frequency of {', '.join(FREQUENCIES)}; category "
                f"{entry['id']} has {entry['frequency']!r}"
            )

    def annotation(entry: Entry) -> None:
        keys = ("id", "image_id", "category_id", "bbox", "area", "segmentation")
        _require_keys(path, "annotations", keys, entry)

    read_tables(path, {"images": image, "categories": category, "annotations": annotation})
    return image_ids


def _require_keys(path: Path, table: str, keys: tuple[str, ...], entry: Entry) -> None:
    missing = [key for key in keys if key not in entry]
    if missing:
        raise AnnotationError(
            f"{path}: LVIS scoring needs {' and '.join(missing)} in every entry of {table}; entry "
            f"{entry.get('id')} has none"
        )


def _require_detections(path: Path, iou: Iou, images: set[int]) -> None:
    try:
        entries = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise AnnotationError(f"{path}: no such results file") from None
    except (OSError, ValueError, RecursionError) as error:
        raise AnnotationError(f"{path}: expected LVIS results JSON ({error})") from None
    if not isinstance(entries, list) or not entries:
        raise AnnotationError(f"{path}: expected a list of detections, got none to score")
    for number, entry in enumerate(entries):
        problem = _problem(entry, iou, images)
        if problem:
            raise AnnotationError(f"{path}: entry {number}: {problem}")


def _problem(entry: object, iou: Iou, images: set[int]) -> str | None:
    keys = ("image_id", "category_id", "bbox", "score", *(["segmentation"] * (iou == "segm")))
    if not isinstance(entry, dict) or not all(key in entry for key in keys):
        return f"expected an object with {', '.join(keys)}"
    numbers = [*entry["bbox"], entry["score"]] if isinstance(entry["bbox"], list) else []
    if len(numbers) != 5 or not all(isinstance(n, int | float) and isfinite(n) for n in numbers):
        return "expected x, y, width, height as bbox and a score, all of them finite numbers"
    if not isinstance(entry["image_id"], int) or entry["image_id"] not in images:
        return f"image {entry['image_id']!r} is not in the annotations"
    return None
