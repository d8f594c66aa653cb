"""Reading a detector's boxes of 20 000 images, 300 each: seconds and peak memory.

    python benchmarks/read_proposals.py --out DIR

Writes the same seeded boxes in both layouts (about 0.6 GB together), reads each in a fresh process,
and deletes them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from measure import measure

IMAGES, BOXES = 20_000, 300
PROGRAM = """
import sys
from pathlib import Path
from regionspot_core.testing import make_annotations
from regionspot_evaluate.proposals.files import read_proposals
annotations = make_annotations([0] * int(sys.argv[2]))
proposals = read_proposals(Path(sys.argv[1]), annotations) if len(sys.argv) > 3 else []
print(sum(len(p.boxes) for p in proposals), "boxes")
"""


def write_files(results: Path, by_image: Path) -> None:
    """Write the same boxes as COCO results and as an object by image id."""
    random = np.random.default_rng(0)
    with results.open("w") as first, by_image.open("w") as second:
        first.write("[")
        second.write("{")
        for image in range(IMAGES):
            image_id = image * 7 + 3  # as make_annotations numbers them
            boxes = (random.random((BOXES, 4)) * 20).round(2)
            boxes[:, 2:] += boxes[:, :2]
            scores = random.random(BOXES).round(4).tolist()
            sides = (boxes[:, 2:] - boxes[:, :2]).round(2)
            xywh = np.concatenate([boxes[:, :2], sides], axis=1).tolist()
            entries = (
                {"image_id": image_id, "category_id": 1, "bbox": box, "score": score}
                for box, score in zip(xywh, scores, strict=True)
            )
            comma = ", " if image else ""
            first.write(comma + ", ".join(map(json.dumps, entries)))
            value = {"boxes": boxes.round(2).tolist(), "scores": scores, "labels": [1] * BOXES}
            second.write(f'{comma}"{image_id}": {json.dumps(value)}')
        first.write("]")
        second.write("}")


def main() -> None:
    """Write, measure, delete."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    results, by_image = out / "results.json", out / "by_image.json"
    try:
        write_files(results, by_image)
        reader = ["-c", PROGRAM]
        measure("nothing read", [*reader, str(results), str(IMAGES)])
        measure("COCO results", [*reader, str(results), str(IMAGES), "read"])
        measure("by image id", [*reader, str(by_image), str(IMAGES), "read"])
    finally:
        results.unlink(missing_ok=True)
        by_image.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
