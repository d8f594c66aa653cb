"""The boxes that are to be named, with how sure their detector is of each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regionspot_core.backbones.protocols import ProposedRegions
from regionspot_core.boxes import clip_to_image, xywh_to_xyxy
from regionspot_core.datasets import AnnotationSet
from regionspot_core.errors import AnnotationError
from regionspot_evaluate.config import AUTOMATIC, GROUND_TRUTH


@dataclass(frozen=True)
class Proposals:
    """One image's R boxes."""

    boxes: NDArray[np.float32]
    """(R, 4) xyxy, original pixels"""
    scores: NDArray[np.float32]
    """(R,) in [0, 1]"""
    classes: NDArray[np.int64]
    """(R,) true class indices where they are known, else -1"""


def load_proposals(source: str, annotations: AnnotationSet) -> list[Proposals] | None:
    """The proposals of every image of the annotation set, in its order; None for ``auto``.

    Args:
        source: ``gt``, ``auto``, or the path of a file of boxes and scores.
        annotations: The images, and the boxes for ``gt``.

    Raises:
        AnnotationError: The file is missing or malformed, or names an unknown image.
    """
    if source == GROUND_TRUTH:
        return [_ground_truth(annotations, image) for image in range(len(annotations))]
    if source == AUTOMATIC:
        return None
    return _from_file(Path(source), annotations)


def from_sam(regions: ProposedRegions) -> Proposals:
    """Regions that SAM found by itself, its predicted IoU as their score."""
    unknown = np.full(len(regions.boxes), -1, dtype=np.int64)
    return Proposals(regions.boxes, regions.scores, unknown)


def _ground_truth(annotations: AnnotationSet, image: int) -> Proposals:
    regions = annotations.regions(image)
    boxes = annotations.box[regions]
    return Proposals(
        boxes,
        np.ones(len(boxes), dtype=np.float32),
        annotations.class_index[regions].astype(np.int64),
    )


def _from_file(path: Path, annotations: AnnotationSet) -> list[Proposals]:
    position = {int(image_id): index for index, image_id in enumerate(annotations.image_id)}
    found: list[list[tuple[list[float], float]]] = [[] for _ in range(len(annotations))]
    for number, entry in enumerate(_read(path)):
        box, score = _checked(path, number, entry)
        if entry["image_id"] not in position:
            raise AnnotationError(
                f"{path}: entry {number}: image {entry['image_id']} is not in {annotations.path}"
            )
        found[position[entry["image_id"]]].append((box, score))
    return [_proposals(annotations, image, entries) for image, entries in enumerate(found)]


def _proposals(
    annotations: AnnotationSet, image: int, entries: list[tuple[list[float], float]]
) -> Proposals:
    xywh = np.array([box for box, _ in entries], dtype=np.float64).reshape(-1, 4)
    height, width = annotations.size(image)
    boxes = clip_to_image(xywh_to_xyxy(xywh), height=height, width=width).astype(np.float32)
    scores = np.array([score for _, score in entries], dtype=np.float32)
    inside = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    return Proposals(
        boxes[inside],
        scores[inside],
        np.full(int(inside.sum()), -1, dtype=np.int64),
    )


def _read(path: Path) -> list[Any]:
    try:
        entries = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise AnnotationError(
            f"--proposals {path}: neither {GROUND_TRUTH}, {AUTOMATIC} nor a file that exists"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise AnnotationError(f"{path}: expected a COCO-results JSON file ({error})") from None
    if not isinstance(entries, list):
        raise AnnotationError(
            f"{path}: expected a list of objects with image_id, bbox and score, got "
            f"{type(entries).__name__}"
        )
    return entries


def _checked(path: Path, number: int, entry: object) -> tuple[list[float], float]:
    try:
        if not isinstance(entry, dict):
            raise TypeError("not an object")
        if not isinstance(entry["image_id"], int):
            raise TypeError(f"image_id {entry['image_id']!r}")
        if not isinstance(entry["bbox"], list):
            raise TypeError(f"bbox {entry['bbox']!r}")
        box = [float(value) for value in entry["bbox"]]
        score = float(entry["score"])
        if len(box) != 4 or not np.isfinite(box).all() or min(box[2:]) < 0:
            raise ValueError(f"bbox {entry['bbox']}")
        if not 0 <= score <= 1:
            raise ValueError(f"score {score}")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise AnnotationError(
            f"{path}: entry {number}: expected image_id, bbox [x, y, width, height] and a score "
            f"between 0 and 1 ({type(error).__name__}: {error})"
        ) from None
    return box, score
