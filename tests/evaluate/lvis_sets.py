"""LVIS annotations and detections to score, made up or made from real ones."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as codec

Json = dict[str, Any]
SIDE = 64


def rectangle_rle(box: list[float], height: int, width: int) -> Json:
    x, y, w, h = box
    ring = [x, y, x + w, y, x + w, y + h, x, y + h]
    return polygon_rle([ring], height, width)


def polygon_rle(rings: list[list[float]], height: int, width: int) -> Json:
    rle = codec.merge(codec.frPyObjects(rings, height, width))
    return {"size": [height, width], "counts": rle["counts"].decode("ascii")}


@dataclass
class LvisSet:
    """Annotations and detections, on the way to two files."""

    images: list[Json]
    categories: list[Json]
    annotations: list[Json] = field(default_factory=list)
    detections: list[Json] = field(default_factory=list)

    @classmethod
    def empty(cls, images: int, classes: int) -> "LvisSet":
        return cls(
            # Ids fall, so that the file's order is not theirs.
            images=[
                {
                    "id": 100 - n,
                    "file_name": f"{n}.png",
                    "height": SIDE,
                    "width": SIDE,
                    "neg_category_ids": [],
                    "not_exhaustive_category_ids": [],
                }
                for n in range(images)
            ],
            categories=[
                {"id": 7 * (k + 1), "name": f"class {k}", "frequency": "rcf"[k % 3]}
                for k in range(classes)
            ],
        )

    def annotate(self, image: int, category: int, box: list[float], **more: object) -> None:
        x, y, w, h = box
        entry = {
            "id": len(self.annotations) + 1,
            "image_id": self.images[image]["id"],
            "category_id": self.categories[category]["id"],
            "bbox": box,
            "area": w * h,
            "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
        }
        self.annotations.append(entry | more)

    def detect(
        self, image: int, category: int, box: list[float], score: float, **more: object
    ) -> None:
        entry = {
            "image_id": self.images[image]["id"],
            "category_id": self.categories[category]["id"],
            "bbox": box,
            "score": score,
            "segmentation": rectangle_rle(box, SIDE, SIDE),
        }
        self.detections.append(entry | more)

    def write(self, folder: Path) -> tuple[Path, Path]:
        truth, found = folder / "annotations.json", folder / "detections.json"
        content = {
            "images": self.images,
            "categories": self.categories,
            "annotations": self.annotations,
        }
        truth.write_text(json.dumps(content))
        found.write_text(json.dumps(self.detections))
        return truth, found


def random_set(seed: int, *, images: int = 6, classes: int = 5, found: int = 60) -> LvisSet:
    """Boxes on a coarse grid and scores of few values, so that IoUs and scores tie."""
    random = np.random.default_rng(seed)
    made = LvisSet.empty(images, classes)

    def box() -> list[float]:
        corner = random.integers(0, 8, 2) * 4
        sides = random.integers(0, 9, 2) * 4  # some have no area
        return [float(value) for value in (*corner, *sides)]

    for image in range(images):
        mixed = random.permutation(classes).tolist()
        ids = [made.categories[k]["id"] for k in mixed]
        made.images[image]["neg_category_ids"] = ids[3:4]
        # one that is annotated, one that is absent, one of which nothing is said
        made.images[image]["not_exhaustive_category_ids"] = [ids[n] for n in (0, 3, 4)][: image % 4]
        for category in mixed[:3] if image else []:
            for _ in range(random.integers(0, 4)):
                made.annotate(image, category, box(), iscrowd=int(random.random() < 0.2))
    for _ in range(found):
        image = int(random.integers(1, images))  # the first has no detection, and no annotation
        near = [a for a in made.annotations if a["image_id"] == made.images[image]["id"]]
        category, place = int(random.integers(0, classes)), box()
        if near and random.random() < 0.6:
            true = near[int(random.integers(0, len(near)))]
            category = [c["id"] for c in made.categories].index(true["category_id"])
            place = [v + 4 * float(random.integers(0, 2)) for v in true["bbox"]]
        made.detect(image, category, place, float(random.integers(0, 5)) / 4)
    return made


def perturbed_sample(truth: Json, seed: int) -> list[Json]:
    """Detections near a real file's boxes and polygons, with misses, doubles, wrong names and
    false alarms; two digits of score, so that some tie.
    """
    random = np.random.default_rng(seed)
    images = {image["id"]: image for image in truth["images"]}
    classes = [category["id"] for category in truth["categories"]]
    found: list[Json] = []

    def add(image: Json, category: int, box: list[float], rings: list[list[float]]) -> None:
        found.append(
            {
                "image_id": image["id"],
                "category_id": category,
                "bbox": box,
                "score": round(float(random.random()), 2),
                "segmentation": polygon_rle(rings, image["height"], image["width"]),
            }
        )

    for true in truth["annotations"]:
        image = images[true["image_id"]]
        for _ in range(random.integers(0, 4)):
            size = np.array(true["bbox"][2:])
            shift, growth = random.normal(0, 0.06, (2, 2)) * size
            box = [*(np.array(true["bbox"][:2]) + shift), *np.maximum(size + growth, 1)]
            rings = [
                (np.reshape(r, (-1, 2)) + shift).ravel().tolist() for r in true["segmentation"]
            ]
            right = random.random() < 0.8
            category = true["category_id"] if right else int(random.choice(classes))
            add(image, category, [float(v) for v in box], rings)
    for image in truth["images"]:
        named = image["neg_category_ids"][:4] + image["not_exhaustive_category_ids"]
        for category in named:
            x, y, w, h = random.random(4) * np.tile([image["width"], image["height"]], 2) / 2
            box = [float(x), float(y), float(w), float(h)]
            add(image, category, box, [[x, y, x + w, y, x + w, y + h, x, y + h]])
    random.shuffle(found)  # type: ignore[arg-type]
    return found
