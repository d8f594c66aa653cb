"""Reading an annotation file of LVIS train's size: seconds and peak memory.

    python benchmarks/read_annotations.py --out DIR

Writes a seeded LVIS v1 file of 100 170 images, 1 203 classes and 1.27 million annotations with
polygons (about 1 GB), reads it in a fresh process each way, and deletes it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from measure import measure

IMAGES, CLASSES, ANNOTATIONS = 100_170, 1_203, 1_270_141
SIDES = (480, 640)
PROGRAM = (
    "import json, sys; from pathlib import Path; "
    "from regionspot_core.datasets.reading import read_annotations; path = Path(sys.argv[1]); "
)
READERS = {
    "start Python and import the reader": "pass",
    "read_annotations": "read_annotations(path)",
    "read_annotations with masks": "read_annotations(path, masks=True)",
    "json.load, one dict an annotation": "json.load(path.open('rb'))",
}


def images(random: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Return entries as LVIS v1 has them: a URL and the federated lists."""
    for number in range(1, IMAGES + 1):
        yield {
            "id": number,
            "height": SIDES[0],
            "width": SIDES[1],
            "coco_url": f"http://images.cocodataset.org/train2017/{number:012d}.jpg",
            "flickr_url": f"http://farm9.staticflickr.com/8035/{number:010d}_7223c25b8c_z.jpg",
            "date_captured": "2013-11-14 11:18:45",
            "license": 3,
            "neg_category_ids": (random.choice(CLASSES, 8, replace=False) + 1).tolist(),
            "not_exhaustive_category_ids": (random.choice(CLASSES, 1) + 1).tolist(),
        }


def categories() -> Iterator[dict[str, Any]]:
    """Return entries as LVIS v1 has them."""
    for number in range(1, CLASSES + 1):
        yield {
            "id": number,
            "name": f"class_{number}",
            "frequency": "rcf"[number % 3],
            "synset": f"class.n.{number}",
            "synonyms": [f"class_{number}", f"kind_{number}"],
            "def": "a generated class",
        }


def annotations(random: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Return polygons of 6 to 80 points, numbers of two decimals as in LVIS."""
    for number in range(1, ANNOTATIONS + 1):
        x, y = (random.random(2) * [SIDES[1] - 60, SIDES[0] - 60]).round(2).tolist()
        points = int(random.integers(6, 81))
        polygon = (random.random((points, 2)) * 60 + [x, y]).round(2).ravel().tolist()
        yield {
            "id": number,
            "image_id": int(random.integers(1, IMAGES + 1)),
            "category_id": int(random.integers(1, CLASSES + 1)),
            "bbox": [x, y, 60.0, 60.0],
            "area": 2345.67,
            "segmentation": [polygon],
        }


def write_list(file: IO[str], name: str, entries: Iterator[dict[str, Any]]) -> None:
    """Write ``"name": [...]`` without holding the list."""
    file.write(f'"{name}": [')
    for number, entry in enumerate(entries):
        file.write((", " if number else "") + json.dumps(entry))
    file.write("]")


def write_file(path: Path) -> None:
    """Write the whole annotation file, its lists in LVIS v1's order."""
    random = np.random.default_rng(0)
    with path.open("w", encoding="utf-8") as file:
        file.write('{"info": {"year": 2020}, ')
        write_list(file, "annotations", annotations(random))
        file.write(", ")
        write_list(file, "images", images(random))
        file.write(', "licenses": [], ')
        write_list(file, "categories", categories())
        file.write("}")


def main() -> None:
    """Write, measure, delete."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    path = out / "lvis_sized.json"
    try:
        write_file(path)
        print(f"{path.name}: {path.stat().st_size / 1e9:.2f} GB", flush=True)
        for name, code in READERS.items():
            measure(name, ["-c", PROGRAM + code, str(path)])
    finally:
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
