"""Images to extract, generated: JPEGs with a photograph's frequencies, and boxes on them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from regionspot_core.imaging.boxes import FloatArray
from regionspot_core.imaging.transforms import RGBImage

SIZES = ((480, 640), (640, 480), (427, 640), (612, 612))
"""(height, width), as COCO's are; by turns."""
GRAINS = (1, 2, 8, 32, 128)
"""Grain sizes in pixels. The coarser, the stronger: a photograph's spectrum falls so."""


@dataclass(frozen=True)
class Contents:
    """A folder of images and their annotations."""

    images: Path
    annotations: Path
    files: tuple[str, ...]
    boxes: tuple[FloatArray, ...]
    """Boxes of each image, (R, 4) xyxy in its pixels, as the annotations give them."""

    def path(self, index: int) -> Path:
        """Return an image's file."""
        return self.images / self.files[index]


def write_contents(folder: Path, *, images: int, regions: int) -> Contents:
    """Write ``images`` JPEGs with ``regions`` boxes each into a new folder."""
    (folder / "images").mkdir(parents=True)
    files, boxes, records = [], [], []
    annotations: list[dict[str, object]] = []
    for index in range(images):
        random = np.random.default_rng(index)
        height, width = SIZES[index % len(SIZES)]
        files.append(f"{index:06d}.jpg")
        picture = Image.fromarray(photograph(random, height, width))
        picture.save(folder / "images" / files[-1], quality=90)
        corners = random.random((regions, 2)) * (width * 0.6, height * 0.6)
        sides = random.uniform(16, 0.4 * min(height, width), (regions, 2))
        xywh = np.round(np.column_stack([corners, sides]), 1)
        boxes.append(np.column_stack([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]]))
        records.append({"id": index + 1, "file_name": files[-1], "height": height, "width": width})
        annotations += [
            {
                "id": len(annotations) + n + 1,
                "image_id": index + 1,
                "category_id": 1,
                "bbox": box,
                "area": box[2] * box[3],
                "iscrowd": 0,
            }
            for n, box in enumerate(xywh.tolist())
        ]
    file = folder / "annotations.json"
    categories = [{"id": 1, "name": "thing"}]
    content = {"images": records, "annotations": annotations, "categories": categories}
    file.write_text(json.dumps(content))
    return Contents(folder / "images", file, tuple(files), tuple(boxes))


def photograph(random: np.random.Generator, height: int, width: int) -> RGBImage:
    """Return noise (height, width, 3) of many grains."""
    sum_HW3 = np.zeros((height, width, 3), np.float32)
    for grain in GRAINS:
        shape = (-(-height // grain) + 1, -(-width // grain) + 1, 3)
        coarse = random.integers(0, 256, shape, dtype=np.uint8)
        fine = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        sum_HW3 += np.asarray(fine, np.float32) * np.sqrt(grain)
    low, high = sum_HW3.min(), sum_HW3.max()
    return np.asarray((sum_HW3 - low) / (high - low) * 255, np.uint8)
