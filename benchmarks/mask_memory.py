"""The memory that the masks of one image take: 900 of a 4000 × 3000 image.

    python benchmarks/mask_memory.py [--sam tiny|vit_b] [--masks 900] [--width 4000] [--height 3000]

A fresh process makes every mask of the image as `regionspot evaluate run` does, at the image's own
size and encoded in RLE. Printed are its peak (VmHWM) with all libraries, the models and the image
in it, what it holds before the first mask, and the most it holds while masks are made. ``vit_b``
has its architecture and random weights, so its masks are noise.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

MIB = 2**20


def main() -> None:
    """Measure in a fresh process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sam", choices=("tiny", "vit_b"), default="tiny")
    parser.add_argument("--masks", type=int, default=900)
    parser.add_argument("--width", type=int, default=4000)
    parser.add_argument("--height", type=int, default=3000)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not arguments.inside:  # a process counts the peak of the one that started it as its own
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--inside"], check=True)
        return
    measure(arguments.sam, arguments.masks, (arguments.height, arguments.width))


def measure(sam_name: str, count: int, size: tuple[int, int]) -> None:
    """Make the masks and print the peaks."""
    from regionspot_core.backbones.loading import BackboneConfig, load_backbones
    from regionspot_core.backbones.runtime import Runtime
    from regionspot_core.backbones.sam.encoder import SamEncoder
    from regionspot_core.imaging.prompts import BoxPrompts
    from regionspot_core.tiny.scenes import make_scene
    from regionspot_evaluate.recognition.image_regions import encode_masks

    sam = load_backbones(BackboneConfig(device="cpu")).region_encoder
    if sam_name == "vit_b":
        from segment_anything import sam_model_registry

        sam = SamEncoder(sam_model_registry["vit_b"](), name="vit_b", runtime=Runtime.create("cpu"))
    random = np.random.default_rng(0)
    corners = np.sort(random.random((count, 2, 2)), axis=1) * [size[1], size[0]]
    scene = make_scene(random).image  # so that the masks have shapes
    image = np.asarray(Image.fromarray(scene).resize((size[1], size[0])))
    embedding = sam.embed([sam.prepare(image)])
    before, until_now, began = status("VmRSS"), status("VmHWM"), time.process_time()
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    masks = []
    for segmented in sam.segment(embedding, BoxPrompts(corners.reshape(-1, 4)), size):
        masks += encode_masks(segmented.masks_NHW)
    seconds = time.process_time() - began
    at_most = status("VmHWM")
    runs_bytes = sum(len(mask["counts"]) for mask in masks)
    print(
        f"SAM {sam_name}, {len(masks)} masks of {size[1]} × {size[0]}: peak "
        f"{max(until_now, at_most) / MIB:.0f} MiB; {before / MIB:.0f} before the first mask, at "
        f"most {at_most / MIB:.0f} while they are made; {runs_bytes / MIB:.1f} MiB of RLE, "
        f"{seconds:.1f} s of processor time"
    )


def status(name: str) -> int:
    """Return the bytes on one line of this process's status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
