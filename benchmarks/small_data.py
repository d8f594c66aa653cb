"""How well heads name new regions that learnt from tens to hundreds of images, by several recipes.

    python benchmarks/small_data.py --out DIR [--images 30 100 600] [--seeds 3] [--others]

Worlds of the demo whose names are two words, colour and shape (84 classes), are cut to few images.
For each seed, which has scenes and a head of its own, `train fit` without a recipe learns from
them; region top-1 is of 300 other scenes and all 84 names. With --others also the paper's loss and
scale at the same rate, and other rates, steps and schedules. Prints a line a run, and a table.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from statistics import mean

from regionspot_core.backbones.loading import BackboneConfig, Backbones, load_backbones
from regionspot_core.tiny.world import write_world
from regionspot_extract.config import ExtractConfig
from regionspot_extract.run import run_extraction
from regionspot_train.by_size import choose_settings
from regionspot_train.config import TrainConfig
from regionspot_train.run import run_training

TEST_SCENES = 300
PAPER = ["loss.kind=focal", "loss.reduction=paper", "head.logit_scale=clip"]
OTHERS: dict[str, tuple[float, list[str]]] = {
    "focal loss, CLIP's scale": (1, PAPER),
    "rate 3e-4": (1, ["optimiser.lr=3e-4"]),
    "rate 3e-3": (1, ["optimiser.lr=3e-3"]),
    "constant rate": (1, ["optimiser.schedule=constant"]),
    "half of the steps": (0.5, []),
    "three times the steps": (3, []),
}
"""Recipes beside the one that is chosen: the factor of its steps, and values of ``--set``."""


def two_words(annotations: Path, out: Path, *, images: int) -> Path:
    """Write the first images of a world, their classes called by colour and shape alone."""
    values = json.loads(annotations.read_text())
    names = {each["id"]: each["name"].split(" ", 1)[1] for each in values["categories"]}
    number = {name: n for n, name in enumerate(sorted(set(names.values())), start=1)}
    kept = values["images"][:images]
    ids = {image["id"] for image in kept}
    regions = [
        each | {"category_id": number[names[each["category_id"]]]}
        for each in values["annotations"]
        if each["image_id"] in ids
    ]
    content = {
        "images": [
            {key: value for key, value in image.items() if not key.endswith("category_ids")}
            for image in kept
        ],
        "annotations": regions,
        "categories": [{"id": n, "name": name} for name, n in number.items()],
    }
    out.write_text(json.dumps(content))
    return out


def extract(images: Path, annotations: Path, store: Path, backbones: Backbones) -> Path:
    """Fill a store, unless it is there."""
    config = ExtractConfig(images=images, annotations=annotations, out=store)
    run_extraction(config, backbones=backbones)
    return store


def top1(config: TrainConfig, store: Path, test: Path, out: Path) -> float:
    """Train a head and return the share of the test scenes' regions that it names."""
    changed = {"validation.every": config.steps, "validation.patience": None}
    report = run_training(config.with_values(changed), store=store, out=out, validate_on=test)
    assert report.best is not None
    print(f"{out.name}: {config.steps} steps, {report.best.top1:.3f}", flush=True)
    return report.best.top1


def main() -> None:
    """Measure everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=int, nargs="+", default=[30, 100, 600])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--others", action="store_true")
    arguments = parser.parse_args()
    out: Path = arguments.out
    backbones = load_backbones(BackboneConfig())
    found: dict[tuple[str, int], list[float]] = defaultdict(list)
    test = out / "test.zarr"
    for seed in range(arguments.seeds):
        world = write_world(
            out / f"world{seed}",
            train_scenes=max(arguments.images),
            val_scenes=1 if seed else TEST_SCENES,
            seed=seed,
        )
        if seed == 0:
            file = two_words(world.val_annotations, out / "test.json", images=TEST_SCENES)
            extract(world.val_images, file, test, backbones)
        for images in arguments.images:
            name = f"{images}-{seed}"
            file = two_words(world.train_annotations, out / f"{name}.json", images=images)
            store = extract(world.train_images, file, out / f"{name}.zarr", backbones)
            chosen, _ = choose_settings(None, [f"seed={seed}"], store)
            recipes = {"chosen": (1.0, []), **(OTHERS if arguments.others else {})}
            for recipe, (factor, changes) in recipes.items():
                given = [f"seed={seed}", f"steps={round(chosen.steps * factor)}", *changes]
                config, _ = choose_settings(None, given, store)
                run = out / f"{name} {recipe}"
                found[recipe, images].append(top1(config, store, test, run))
    for (recipe, images), figures in found.items():
        spread = f"{min(figures):.3f} to {max(figures):.3f}"
        print(f"{recipe}, {images} images: {mean(figures):.3f} ({spread})")


if __name__ == "__main__":
    main()
