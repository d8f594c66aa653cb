"""Small LVIS annotations, and runs that answer them, for the tests of reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as codec

from regionspot_core.datasets.detections.detections_file import DetectionsFile
from regionspot_core.datasets.reading import read_table
from regionspot_core.datasets.record import AnnotationSet
from regionspot_evaluate.reports.html.read_run import Detections, sort_detections
from regionspot_evaluate.scoring.results import Results

Annotations = dict[str, list[dict[str, Any]]]
Entries = list[dict[str, Any]]
SIZE = (80, 120)
"""Height, width of every image."""


def make_annotations(
    rng: np.random.Generator, *, images: int = 12, classes: int = 5, absent: float = 0.5
) -> Annotations:
    """Images with up to five boxes each; classes are absent or not exhaustively annotated."""
    annotations: Annotations = {
        "images": [],
        "annotations": [],
        "categories": [
            {"id": 10 + k, "name": f"class {k}", "frequency": "rcf"[k % 3]} for k in range(classes)
        ],
    }
    for image in range(1, images + 1):
        shown = set()
        for _ in range(rng.integers(1 if image == 1 else 0, 6)):
            category = 10 + int(rng.integers(classes))
            shown.add(category)
            box = _box(rng)
            annotations["annotations"].append(
                {
                    "id": len(annotations["annotations"]) + 1,
                    "image_id": image,
                    "category_id": category,
                    "bbox": box,
                    "area": box[2] * box[3],
                    "segmentation": [_corners(box)],
                }
            )
        ids = range(10, 10 + classes)
        annotations["images"].append(
            {
                "id": image,
                "height": SIZE[0],
                "width": SIZE[1],
                "file_name": f"{image:04}.png",
                "neg_category_ids": [k for k in ids if k not in shown and rng.random() < absent],
                "not_exhaustive_category_ids": [k for k in shown if rng.random() < 0.3],
            }
        )
    return annotations


def make_detections(
    rng: np.random.Generator, annotations: Annotations, *, right: float = 0.6, masks: bool = False
) -> Entries:
    """Up to three tries at each box, some misnamed, some misplaced, and a few on nothing."""
    classes = [each["id"] for each in annotations["categories"]]
    entries: Entries = []
    for truth in annotations["annotations"]:
        for _ in range(rng.integers(0, 4)):
            named = truth["category_id"] if rng.random() < right else int(rng.choice(classes))
            moved = np.array(truth["bbox"]) + rng.normal(0, rng.choice([0.1, 4, 10]), 4)
            entries.append(_entry(rng, truth["image_id"], named, moved.clip(1).tolist()))
    for image in annotations["images"]:
        for _ in range(rng.integers(0, 3)):
            entries.append(_entry(rng, image["id"], int(rng.choice(classes)), _box(rng)))
    if masks:
        for entry in entries:
            rle = codec.frPyObjects([_corners(entry["bbox"])], *SIZE)[0]
            entry["segmentation"] = {"size": list(SIZE), "counts": rle["counts"].decode()}
    return entries


def write_annotations(folder: Path, annotations: Annotations) -> Path:
    """As ``val.json``."""
    path = folder / "val.json"
    path.write_text(json.dumps(annotations))
    return path


def write_run(folder: Path, entries: Entries, **metrics: Any) -> Path:
    """A folder as ``evaluate run`` leaves one."""
    folder.mkdir()
    (folder / "detections.json").write_text(json.dumps(entries))
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


def write_images(folder: Path, annotations: Annotations, rng: np.random.Generator) -> Path:
    """Noise, as PNG."""
    folder.mkdir()
    for image in annotations["images"]:
        pixels = rng.integers(0, 255, (*SIZE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / image["file_name"])
    return folder


def page_data(page: Path) -> dict[str, Any]:
    """The figures and pictures that a report's page holds."""
    text = page.read_text(encoding="utf-8")
    data: dict[str, Any] = json.loads(text.split('id="data">')[1].split("</script>")[0])
    return data


def _box(rng: np.random.Generator) -> list[float]:
    return [float(side) for side in (*rng.uniform(0, 40, 2), *rng.uniform(10, 40, 2))]


def _corners(box: list[float]) -> list[float]:
    x, y, width, height = box
    return [x, y, x + width, y, x + width, y + height, x, y + height]


def _entry(rng: np.random.Generator, image: int, category: int, box: list[float]) -> dict[str, Any]:
    score = float(rng.random())
    return {"image_id": image, "category_id": category, "bbox": box, "score": score}


def read_detections(path: Path, annotations: AnnotationSet) -> Detections:
    """Return a results file's detections as a report shows them."""
    truth = read_table(annotations.path).truth(federated=True)
    with DetectionsFile(path) as file:
        results = Results.read(file, truth, ious=("bbox",), every_box=True)
    return sort_detections(results, truth, annotations)
