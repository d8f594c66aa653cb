"""Reading a detector's boxes of 20 000 images, 300 each: seconds and peak memory.

    python benchmarks/read_proposals.py --out DIR

Writes the same seeded boxes in both layouts (about 0.6 GB together), reads each in a fresh process,
and deletes them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

IMAGES, BOXES = 20_000, 300
PROGRAM = """
import sys
from pathlib import Path
from regionspot_core.testing import make_annotations
from regionspot_evaluate.proposal_files import read_proposals
annotations = make_annotations([0] * int(sys.argv[2]))
proposals = read_proposals(Path(sys.argv[1]), annotations) if len(sys.argv) > 3 else []
print(sum(len(p.boxes) for p in proposals), "boxes")
"""


def write_files(results: Path, by_image: Path) -> None:
    """The same boxes as COCO results and as an object by image id."""
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


def measure(name: str, path: Path, *arguments: str) -> None:
    """Read one file in a process of its own and print its seconds and peak memory."""
    began = time.perf_counter()
    command = [sys.executable, "-c", PROGRAM, str(path), str(IMAGES), *arguments]
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{name}: exit code {os.waitstatus_to_exitcode(status)}")
    # ru_maxrss is in KiB on Linux and in bytes on macOS.
    mebibytes = usage.ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)
    seconds, size = time.perf_counter() - began, path.stat().st_size / 1e9
    print(f"{name}, {size:.2f} GB: {seconds:.1f} s, {mebibytes:,.0f} MiB peak", flush=True)


def main() -> None:
    """Write, measure, delete."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    results, by_image = out / "results.json", out / "by_image.json"
    try:
        write_files(results, by_image)
        measure("nothing read", results)
        measure("COCO results", results, "read")
        measure("by image id", by_image, "read")
    finally:
        results.unlink(missing_ok=True)
        by_image.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
