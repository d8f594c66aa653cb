"""Evaluation of LVIS val's size on one core: 20 000 images, 300 detections each, with masks.

    python benchmarks/val_size.py --out DIR [--quick]

Generates the images, a detector's 300 boxes of each, and the journal of an `evaluate run` that has
named them all (`val_size_contents.py`), and then runs the commands, each in a process of its own:
`run` gathers and scores, `report` and `compare` read what it wrote, `cached` scores a store. No
frozen model works, so `run` lacks their memory and time. Seconds are the processor's: others may
work on the machine. The exit code is 1 where a bound is not kept. With --quick there are 1 000
images, and sizes and seconds are held to as large a share.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from measure import Measured, measure

IMAGES, QUICK_IMAGES = 20_000, 1_000
START_SECONDS = 15
"""Time that a quick run may take for what does not grow with the images."""
GB = 1e9


class Bound(NamedTuple):
    """A figure and the largest value that is allowed."""

    what: str
    required: float
    measured: float
    unit: str


def main() -> None:
    """Generate, measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="a new folder; 5 GB")
    parser.add_argument("--quick", action="store_true", help="1 000 images")
    arguments = parser.parse_args()
    folder: Path = arguments.out.absolute()
    images = QUICK_IMAGES if arguments.quick else IMAGES
    folder.mkdir(parents=True)
    os.environ["OMP_NUM_THREADS"] = "1"
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # one core
    try:
        contents = Path(__file__).with_name("val_size_contents.py")
        measure("generated", [str(contents), str(folder), str(images)])
        bounds = list(_measured(folder, share=images / IMAGES))
    finally:
        shutil.rmtree(folder)
    _print(bounds)
    sys.exit(any(each.measured > each.required for each in bounds))


def _measured(folder: Path, *, share: float) -> Iterator[Bound]:
    """Run every command, and yield its figures beside what is required of them."""
    start = 0 if share == 1 else START_SECONDS
    run, annotations = folder / "run", folder / "annotations.json"
    data = ["--images", folder / "images", "--head", folder / "head"]
    detected = [*data, "--annotations", annotations, "--proposals", folder / "proposals.json"]
    yield _memory("run", _evaluate("run", *detected, "--out", run))
    yield Bound("results file", 0.4 * share, _gigabytes(run.glob("detections.json*")), "GB")
    small = folder / "small"
    words = [*data, "--annotations", folder / "small.json", "--out", small]
    for name in ("clip-crop", "clip-masked-crop", "clip-pool"):
        words += ["--baseline", name]
    _evaluate("run", *words)
    files = [*small.glob("detections.json*"), *small.glob("baseline_*")]
    yield Bound("results/ of 600 images, 4 files", 0.0168, _gigabytes(files), "GB")
    report = _evaluate("report", run, "--images", folder / "images")
    yield _memory("report", report)
    yield Bound("report", start + 90 * share, report.processor_seconds, "s")
    cached = ["--cache", folder / "store", "--head", folder / "head", "--annotations", annotations]
    yield _memory("cached", _evaluate("cached", *cached, "--out", folder / "cached"))
    compare = _evaluate("compare", run, "--annotations", annotations, "--iou", "bbox")
    yield _memory("compare, a row", compare)
    yield Bound("compare, a row", start + 120 * share, compare.processor_seconds, "s")


def _evaluate(command: str, *words: object) -> Measured:
    program = Path(sys.executable).with_name("regionspot")
    return measure(command, [str(program), "evaluate", command, *map(str, words)])


def _memory(what: str, measured: Measured) -> Bound:
    return Bound(what, 2.0, measured.bytes / GB, "GB of memory")


def _gigabytes(files: Sequence[Path] | Iterator[Path]) -> float:
    return sum(file.stat().st_size for file in files) / GB


def _print(bounds: list[Bound]) -> None:
    print(f"{'':32}{'required':>10}{'measured':>10}  met")
    for what, required, measured, unit in bounds:
        met = "yes" if measured <= required else "NO"
        print(f"{what:32}{required:>10.3g}{measured:>10.3g}  {met:4}{unit}")


if __name__ == "__main__":
    main()
