"""The real architectures end to end on a few photographs: seconds and peak memory.

    python benchmarks/real_models.py --images DIR --annotations FILE --out DIR

Runs `regionspot extract plan`, `extract run`, `extract run` again (which resumes), `train fit` and
`evaluate run` with SAM ViT-B and CLIP ViT-B/16, as a user would. Their weights are saved state
dicts of the random initialisation, which cost what the real ones cost; the figures of merit that
come out mean nothing.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import open_clip
import torch
from segment_anything import sam_model_registry

MODELS = ["--sam", "vit_b", "--clip", "ViT-B-16-quickgelu"]


def save_random_weights(folder: Path) -> list[str]:
    """Write both state dicts; the options that name them."""
    sam, clip = folder / "sam_vit_b_random.pth", folder / "clip_b16_random.pt"
    torch.manual_seed(0)
    torch.save(sam_model_registry["vit_b"]().state_dict(), sam)
    torch.save(open_clip.create_model(MODELS[3], load_weights=False).state_dict(), clip)
    return ["--sam-checkpoint", str(sam), "--clip-pretrained", str(clip)]


def run(label: str, *arguments: str) -> None:
    """Run one command and print its wall time and peak memory, as the system counts them."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "regionspot_cli", *arguments])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{label}: exit code {os.waitstatus_to_exitcode(status)}")
    # ru_maxrss is in KiB on Linux and in bytes on macOS.
    mebibytes = usage.ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)
    print(f"== {label}: {time.perf_counter() - began:.1f} s, {mebibytes:,.0f} MiB peak", flush=True)


def main() -> None:
    """Run the commands in the order of the pipeline."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", required=True)
    parser.add_argument("--annotations", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--precision", default="float32")
    arguments = parser.parse_args()
    out: Path = arguments.out
    out.mkdir(parents=True)
    models = [*MODELS, *save_random_weights(out), "--precision", arguments.precision]
    data = ["--images", arguments.images, "--annotations", arguments.annotations]
    store = str(out / "store.zarr")
    small = ["--batch", "1"]
    run("extract plan", "extract", "plan", *data, *models, *small)
    run("extract run", "extract", "run", *data, *models, *small, "--out", store)
    run("extract run, again", "extract", "run", *data, *models, *small, "--out", store)
    run("extract info", "extract", "info", store)
    run(
        "train fit, 20 steps", "train", "fit", "--config", "paper", "--set", "steps=20",
        "--set", "log_every=5", "--cache", store, "--out", str(out / "run"),
    )  # fmt: skip
    run(
        "evaluate run", "evaluate", "run", *data, *models, *small, "--head", str(out / "run"),
        "--out", str(out / "results"),
    )  # fmt: skip


if __name__ == "__main__":
    main()
