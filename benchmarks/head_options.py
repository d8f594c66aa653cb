"""What the head's options cost or gain: accuracy on the tiny world, and the time of a step.

    OMP_NUM_THREADS=1 python benchmarks/head_options.py --out DIR [--seeds 0 1] [--scenes 3000]
    OMP_NUM_THREADS=1 python benchmarks/head_options.py --out DIR --seeds    # step times alone

For each seed the tiny world is extracted once (what is there already is taken), and a head trained
with the demo recipe and each set of options; it then names the validation boxes from the cache, of
all 252 names. Steps (forward, loss, backward, AdamW) take turns on random features; their time is
the CPU's, which other work on the machine changes little, each is a ratio to the default's of the
same round, and the median of the rounds is printed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from regionspot_core.cache.read.reader import FeatureCache
from regionspot_core.errors import CacheError
from regionspot_core.heads.fusion import FusionConfig, FusionHead
from regionspot_core.tiny.world import write_world
from regionspot_extract.config import ExtractConfig
from regionspot_extract.run import run_extraction
from regionspot_train.config import TrainConfig, recipe_or_file
from regionspot_train.run import run_training

TRIED: tuple[dict[str, Any], ...] = (
    {},
    {"image_pooling": 2},
    {"shared_keys": True},
    {"image_pooling": 2, "shared_keys": True},
    {"region_tokens": "all"},
    {"box_geometry": True},
    {"image_positions": "sincos"},
    {"box_geometry": True, "image_positions": "sincos"},
    {"width": 0.5},
    {"image_positions": "learned"},
    {"region_tokens": "masks"},
)
"""A width is a share of CLIP's."""
PAPER = FusionConfig(image_tokens=197)
LARGE = FusionConfig(image_tokens=577, image_width=1024, text_width=768)
DEMO = FusionConfig(
    heads=4, ffn_width=512, region_width=128, image_width=128, image_tokens=145, text_width=128
)
SIZES = {
    "paper": (PAPER, 16, 12, 1203),
    "large": (LARGE, 4, 12, 1203),
    "demo": (DEMO, 32, 5, 180),
}
"""The head, images and regions of a batch, and classes: CLIP B/16, L/14 at 336, the tiny one."""
ROUNDS = 9
SAM_TOKENS = 5


def name_of(options: dict[str, Any]) -> str:
    """Return the options as a table's row shows them."""
    return ", ".join(f"{key}={str(value).lower()}" for key, value in options.items()) or "default"


def for_width(options: dict[str, Any], image_width: int) -> dict[str, Any]:
    """Return the options, the width in numbers."""
    given = options.get("width")
    return options if given is None else {**options, "width": int(given * image_width)}


def make_stores(out: Path, seed: int, scenes: int) -> tuple[Path, Path]:
    """Return the world's caches to train and to validate on."""
    stores = out / f"train_{seed}.zarr", out / f"val_{seed}.zarr"
    try:
        for store in stores:
            FeatureCache(store)
    except CacheError:
        world = write_world(
            out / f"world_{seed}", train_scenes=scenes, val_scenes=max(10, scenes // 5), seed=seed
        )
        sources = (
            (world.train_images, world.train_annotations),
            (world.val_images, world.val_annotations),
        )
        for store, (images, file) in zip(stores, sources, strict=True):
            run_extraction(ExtractConfig(images=images, annotations=file, out=store))
    return stores


def measure_accuracy(
    out: Path, tried: Sequence[dict[str, Any]], seed: int, scenes: int, steps: int | None
) -> None:
    """Train a head with each set of options and print how well it names the validation regions."""
    store, validate_on = make_stores(out, seed, scenes)
    for options in tried:
        given = [f"head.{k}={str(v).lower()}" for k, v in for_width(options, 128).items()]
        given += [f"seed={seed}"] + ([] if steps is None else [f"steps={steps}"])
        config = TrainConfig.load(recipe_or_file("demo"), given)
        config = config.model_copy(
            update={"validation": config.validation.model_copy(update={"every": config.steps})}
        )
        run = out / f"run_{seed}_{name_of(options).replace(', ', '_')}"
        report = run_training(config, store=store, out=run, validate_on=validate_on, resume=True)
        assert report.best is not None
        shares = report.best.by_frequency
        print(
            f"seed {seed}, {name_of(options)}: top-1 {report.best.top1:.4f}, class mean "
            f"{report.best.class_mean:.4f}, "
            + ", ".join(f"{name} {share:.4f}" for name, share in shares.items())
            + f"; {report.parameters:,} parameters, {report.seconds:.0f} s",
            flush=True,
        )


def step_of(
    options: dict[str, Any], shape: FusionConfig, images: int, regions: int, classes: int
) -> Callable[[], None]:
    """Return a function that does a training step of a head with these options."""
    seen = {"paper": 1, "masks": SAM_TOKENS - 1, "all": SAM_TOKENS}
    count = seen[options.get("region_tokens", "paper")]
    values = {**shape.to_json(), **for_width(options, shape.image_width)}
    config = FusionConfig.parse({**values, "region_token_count": count}, source="benchmark")
    torch.manual_seed(0)
    head = FusionHead(config).train()
    optimiser = torch.optim.AdamW(head.parameters(), lr=1e-4)
    region_tokens = torch.randn(images, regions, count * config.region_width)
    image_tokens = torch.randn(images, shape.image_tokens or 1, config.image_width)
    boxes = torch.rand(images, regions, 2).repeat(1, 1, 2) + torch.tensor([0, 0, 0.1, 0.1])
    mask = torch.ones(images, regions, dtype=torch.bool)
    names = F.normalize(torch.randn(classes, config.text_width), dim=-1)
    labels = torch.randint(classes, (images * regions,))

    def step() -> None:
        logits = head.logits(head(region_tokens, image_tokens, mask, boxes), names, 100.0)
        optimiser.zero_grad(set_to_none=True)
        F.cross_entropy(logits.flatten(0, 1), labels).backward()
        optimiser.step()

    return step


def measure_times(size: str, tried: Sequence[dict[str, Any]], rounds: int) -> None:
    """Print the time of a step with each set of options, as a share of the default's."""
    steps = {name_of(options): step_of(options, *SIZES[size]) for options in ({}, *tried)}
    repeats = 10 if size == "demo" else 1
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + 1):
        for name, step in steps.items():
            began = time.process_time()
            for _ in range(repeats):
                step()
            if number:  # the first round warms up
                seconds[name].append((time.process_time() - began) / repeats)
    default = seconds["default"]
    for name, taken in seconds.items():
        ratios = [seconds / its for seconds, its in zip(taken, default, strict=True)]
        print(
            f"{size} size, {name}: step {statistics.median(ratios):.2f} of the default's "
            f"({min(ratios):.2f} … {max(ratios):.2f}), {1e3 * min(taken):.1f} ms at best",
            flush=True,
        )


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1])
    parser.add_argument("--scenes", type=int, default=3_000)
    parser.add_argument("--steps", type=int, help="Of training; left out: the recipe's.")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="Of step times; 0: none.")
    parser.add_argument("--sizes", nargs="*", default=list(SIZES), choices=SIZES)
    parser.add_argument("--only", metavar="NAME", nargs="*", help="Sets of options, as printed.")
    arguments = parser.parse_args()
    tried = [each for each in TRIED if name_of(each) in (arguments.only or [name_of(each)])]
    for size in arguments.sizes if arguments.rounds else ():
        measure_times(size, tried, arguments.rounds)
    for seed in arguments.seeds:
        measure_accuracy(arguments.out, tried, seed, arguments.scenes, arguments.steps)


if __name__ == "__main__":
    main()
