"""LVIS average precision of a results file, by the standard protocol (300 detections an image)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from regionspot_core.annotations import parse_annotation_json, read_annotation_bytes
from regionspot_core.errors import AnnotationError

Iou = Literal["bbox", "segm"]
METRICS = (
    "AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf",
    "AR", "ARs", "ARm", "ARl",
)  # fmt: skip
"""In the order they are shown. AR is the mean recall at 300 detections."""


@dataclass(frozen=True)
class Score:
    """Figures between 0 and 1; None where the annotations have no instance to measure on."""

    iou: Iou
    values: dict[str, float | None]

    def __getitem__(self, name: str) -> float | None:
        return self.values[name]


def score(annotations: Path, detections: Path, *, iou: Iou) -> Score:
    """Score LVIS results against LVIS annotations with the official ``lvis`` package.

    Raises:
        AnnotationError: A file is missing or malformed, the annotations lack LVIS's federated
            lists or frequencies, or there are no detections.
    """
    from regionspot_evaluate.lvis_reference import score_with_reference

    require_lvis(annotations)
    _require_detections(detections)
    raw = score_with_reference(annotations, detections, iou=iou)
    named = {name.removesuffix("@300"): value for name, value in raw.items()}
    return Score(iou, {name: None if named[name] < 0 else named[name] for name in METRICS})


def require_lvis(path: Path) -> None:
    """Refuse annotations that the LVIS scorer could not judge.

    Raises:
        AnnotationError: The file lacks what LVIS adds to COCO.
    """
    content = parse_annotation_json(path, read_annotation_bytes(path))
    wanted = {
        "images": ("neg_category_ids", "not_exhaustive_category_ids"),
        "categories": ("frequency",),
        "annotations": ("area", "segmentation"),
    }
    for table, keys in wanted.items():
        for entry in content[table]:
            missing = [key for key in keys if key not in entry]
            if missing:
                raise AnnotationError(
                    f"{path}: LVIS scoring needs {' and '.join(missing)} in every entry of "
                    f"{table}; entry {entry.get('id')} has none"
                )


def _require_detections(path: Path) -> None:
    try:
        entries = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise AnnotationError(f"{path}: no such results file") from None
    except (OSError, ValueError) as error:
        raise AnnotationError(f"{path}: expected LVIS results JSON ({error})") from None
    if not isinstance(entries, list) or not entries:
        raise AnnotationError(f"{path}: expected a list of detections, got none to score")
