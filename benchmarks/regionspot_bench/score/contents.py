"""Annotations and detections to score, generated into files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as codec

Json = dict[str, Any]
WIDTH, HEIGHT = 640, 480
REGIONS = 12
"""Annotated in an image, of ``PRESENT`` classes."""
PRESENT, NEGATIVE = 4, 10
"""Classes of an image that are annotated, and that are known to be absent."""
NEAR = 24
"""Detections of an image that are near an annotated region."""
VARIANTS = 1_000
"""Different images; more than that are these again."""


class Contents:
    """A set of ``images``; every one is the same when it is asked for again."""

    def __init__(
        self,
        *,
        images: int,
        detections: int,
        classes: int,
        masks: bool,
        variants: int = VARIANTS,
    ) -> None:
        self.images = images
        self._variants = min(images, variants)
        self._detections = detections
        self._classes = classes
        self._masks = masks

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write ``annotations.json`` and ``detections.json`` into a new folder."""
        folder.mkdir()
        truth, results = folder / "annotations.json", folder / "detections.json"
        images, annotations, texts = [], [], []
        for variant in range(self._variants):
            image, regions, detections = self._variant(variant)
            images.append(image)
            annotations.append(regions)
            # The id is put in later: making these texts takes longest.
            texts.append(",\n".join(json.dumps(each) for each in detections))
        categories = [
            {"id": n, "name": f"class {n}", "frequency": "rcf"[n % 3]}
            for n in range(1, self._classes + 1)
        ]
        repeated = [
            region | {"id": REGIONS * n + place + 1, "image_id": n + 1}
            for n in range(self.images)
            for place, region in enumerate(annotations[n % self._variants])
        ]
        content = {
            "images": [images[n % self._variants] | {"id": n + 1} for n in range(self.images)],
            "annotations": repeated,
            "categories": categories,
        }
        truth.write_text(json.dumps(content))
        with results.open("w") as file:
            for n in range(self.images):
                file.write(",\n" if n else "[\n")
                file.write(
                    texts[n % self._variants].replace('"image_id": 0', f'"image_id": {n + 1}')
                )
            file.write("\n]\n")
        return truth, results

    def _variant(self, variant: int) -> tuple[Json, list[Json], list[Json]]:
        """Return an image, its regions and its detections, whose image has the id 0."""
        random = np.random.default_rng(variant)
        mixed = (random.permutation(self._classes)[: PRESENT + NEGATIVE] + 1).tolist()
        image = {
            "width": WIDTH,
            "height": HEIGHT,
            "neg_category_ids": mixed[PRESENT:],
            "not_exhaustive_category_ids": mixed[:1],
        }
        true = self._boxes(random, REGIONS)
        names = random.choice(mixed[:PRESENT], REGIONS)
        regions = [
            {
                "category_id": int(name),
                "bbox": box,
                "area": box[2] * box[3],
                "segmentation": [_corners(box)],
            }
            for name, box in zip(names, true.tolist(), strict=True)
        ]
        return image, regions, list(self._found(random, true, names))

    def _found(self, random: np.random.Generator, true: Any, names: Any) -> Iterator[Json]:  # noqa: ANN401 - arrays
        boxes = self._boxes(random, self._detections)
        classes = random.integers(1, self._classes + 1, self._detections)
        near = random.integers(0, REGIONS, min(NEAR, self._detections))
        classes[: len(near)] = names[near]
        boxes[: len(near)] = np.round(true[near] * random.uniform(0.85, 1.15, (len(near), 4)), 2)
        scores = random.random(self._detections)
        for name, box, score in zip(classes.tolist(), boxes.tolist(), scores.tolist(), strict=True):
            entry: Json = {"image_id": 0, "category_id": name, "bbox": box, "score": score}
            if self._masks:
                rle = codec.merge(codec.frPyObjects([_corners(box)], HEIGHT, WIDTH))
                counts = rle["counts"].decode("ascii")
                entry["segmentation"] = {"size": [HEIGHT, WIDTH], "counts": counts}
            yield entry

    def _boxes(self, random: np.random.Generator, count: int) -> Any:  # noqa: ANN401 - (N, 4)
        corners = random.random((count, 2)) * (WIDTH / 2, HEIGHT / 2)
        sides = np.exp(random.uniform(np.log(10), np.log(200), (count, 2)))
        return np.round(np.column_stack([corners, sides]), 2)


def _corners(box: list[float]) -> list[float]:
    x, y, w, h = box
    return [x, y, x + w, y, x + w, y + h, x, y + h]
