"""The plan's time beside the run's: the demo world, and generated images; tiny models.

    python benchmarks/extract_forecast.py --out DIR

Each measurement is a process of its own, as a user's `plan` and `run` are. The run's seconds are
from the configuration to the finished store: what the plan forecasts. Python's start and imports
are not in it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

IMAGES = 50
SCENES = 600
"""Scenes of the demo world."""
CODE = """
import sys, time
from pathlib import Path
from regionspot_extract.config import ExtractConfig
import regionspot_extract.run, regionspot_extract.forecast, open_clip, segment_anything
from regionspot_core.backbones.runtime import Runtime
from regionspot_extract.encoding.stages import StageClock

what, images, annotations, out = sys.argv[1:]
config = ExtractConfig(images=images, annotations=annotations, out=out)
if what == "plan":
    clock = StageClock(Runtime.create(config.backbones.device).device)
    extraction = regionspot_extract.prepare.prepare(config, clock=clock)
    found = regionspot_extract.forecast.forecast(extraction, clock)
    print(found.total, found.loading, found.classes, found.encoding)
else:
    began = time.perf_counter()
    regionspot_extract.run.run_extraction(config)
    print(time.perf_counter() - began)
"""


def measured(what: str, images: Path, annotations: Path, out: Path) -> list[float]:
    """Return the figures that a process prints."""
    command = [sys.executable, "-c", CODE, what, images, annotations, out]
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, text=True, check=True)
    return [float(value) for value in done.stdout.split()]


def main() -> None:
    """Plan and run by turns."""
    from regionspot_bench.extract.contents import write_contents
    from regionspot_core.tiny.world import write_world

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    world = write_world(arguments.out / "world", train_scenes=SCENES, val_scenes=1, seed=0)
    few = write_contents(arguments.out / "few", images=IMAGES, regions=10)
    sets = {
        f"{SCENES} scenes of the demo": (world.train_images, world.train_annotations),
        f"{IMAGES} generated images": (few.images, few.annotations),
    }
    for name, data in sets.items():
        for number in range(arguments.rounds):
            out = arguments.out / f"{time.time_ns()}.zarr"
            total, loading, classes, encoding = measured("plan", *data, out)
            (run,) = measured("run", *data, out)
            print(
                f"{name}, {number + 1}: plan {total:.2f} s (loading {loading:.2f}, classes "
                f"{classes:.2f}, images {encoding:.2f}), run {run:.2f} s, ratio {total / run:.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
