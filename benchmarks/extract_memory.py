"""Peak memory of an extraction after 100 and after 1 000 images: the same, or something grows.

    python benchmarks/extract_memory.py --out DIR

Tiny models, parts of 32 images, a process for each encoding. Before it, embedding the class names
has a peak of its own, which is higher and does not depend on the images.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

IMAGES = 1_000
CODE = """
import sys
from regionspot_bench.peak import peak_bytes, reset_peak
from regionspot_extract.config import ExtractConfig
from regionspot_extract.parts import encode_parts
from regionspot_extract.prepare import prepare
from regionspot_extract.prepare import open_writer

images, annotations, out, dtype = sys.argv[1:]
config = ExtractConfig(
    images=images, annotations=annotations, out=out, part_images=32, keep={"dtype": dtype}
)
extraction = prepare(config)
writer = open_writer(extraction)
peaks, done = [peak_bytes()], 0
reset_peak()

def on_images(count):
    global done
    if done < 100 <= done + count:
        peaks.append(peak_bytes())
    done += count

for outcome in encode_parts(extraction, writer, extraction.plan.parts(), on_images):
    pass
print(*peaks, peak_bytes())
"""


def main() -> None:
    """Measure each encoding in a process of its own."""
    from regionspot_core.tiny.world import write_world

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    world = write_world(out / "world", train_scenes=IMAGES, val_scenes=1, seed=0)
    for dtype in ("float16", "int8"):
        command = [
            sys.executable, "-c", CODE, world.train_images, world.train_annotations,
            out / f"{dtype}.zarr", dtype,
        ]  # fmt: skip
        done = subprocess.run(
            list(map(str, command)), stdout=subprocess.PIPE, text=True, check=True
        )
        before, few, many = (int(value) / 2**20 for value in done.stdout.split())
        print(
            f"{dtype}: {before:.0f} MiB to the empty store, {few:.0f} MiB after 100 images, "
            f"{many:.0f} MiB after {IMAGES:,}",
            flush=True,
        )


if __name__ == "__main__":
    main()
