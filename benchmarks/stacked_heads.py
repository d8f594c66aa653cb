"""When it pays to compute heads of a sweep as one (`train sweep --stacked`): a ratio for each size.

    python benchmarks/stacked_heads.py [--heads 16] [--threads 1] [--device cpu]

Sixteen heads without dropout take steps on the same batches, one after another and stacked, in
turns. The first size is the demo's; the others are smaller, down to where calling PyTorch costs
more than computing.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch

from regionspot_bench.measure import take_turns
from regionspot_bench.train.stores import write_store
from regionspot_core.cache.layout.keep import TokenShape
from regionspot_train.config import TrainConfig, recipe_or_file
from regionspot_train.data.loader import FeatureLoader
from regionspot_train.data.sources import open_sources
from regionspot_train.learning.learner import Learner
from regionspot_train.learning.lockstep import Lockstep

SIZES = {
    "demo: 145 × 128, FFN 512, 32 images": (145, 128, 512, 32),
    "50 × 64, FFN 256, 16 images": (50, 64, 256, 16),
    "17 × 64, FFN 128, 8 images": (17, 64, 128, 8),
    "10 × 32, FFN 64, 4 images": (10, 32, 64, 4),
}
"""Image tokens, their width, the feed-forward width, and images a batch."""
BATCHES = 4
ROUNDS = 5


def measure(heads: int, size: tuple[int, int, int, int], device: torch.device) -> float:
    """Return how many times as long the heads take one after another as stacked."""
    tokens, width, ffn, images = size
    shape = TokenShape(tokens, width, region_tokens=5, region_width=width, ious=4)
    settings = ["head.dropout=0", f"head.ffn_width={ffn}", f"batch_images={images}"]
    configs = [
        TrainConfig.load(recipe_or_file("demo"), [*settings, f"seed={seed}"])
        for seed in range(heads)
    ]
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        write_store(store, shape, images=images * BATCHES, part_images=images, text_width=width)
        sources = open_sources(store, configs[0].data)
        loader = FeatureLoader(sources, configs[0], endless=True)
        batches = [batch for batch, _ in zip(loader, range(BATCHES), strict=False)]
        ways = {}
        for name, stacked in (("apart", False), ("stacked", True)):
            learners = [Learner(config, sources, device) for config in configs]
            lockstep = Lockstep(device, stacked=stacked)
            ways[name] = (learners, lockstep)

        def step(name: str, number: int) -> None:
            learners, lockstep = ways[name]
            lockstep.learn(learners, batches[number % BATCHES])
            if device.type == "cuda":
                torch.cuda.synchronize()

        for name in ways:
            step(name, 0)
        times = take_turns(
            {name: lambda number, name=name: step(name, number) for name in ways},
            rounds=ROUNDS,
            repeats=dict.fromkeys(ways, 3),
        )
    return times.ratio("apart", "stacked")


def main() -> None:
    """Print a line a size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--heads", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name, size in SIZES.items():
        ratio = measure(options.heads, size, torch.device(options.device))
        print(f"{name:40} {ratio:5.2f} × as long apart as stacked", flush=True)


if __name__ == "__main__":
    main()
