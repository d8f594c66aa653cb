"""How well the paper's head names regions of the tiny world, and what that rests on.

    python benchmarks/tiny_world.py --out DIR [--seeds 3] [--scenes 3000 5000] [--no-controls]

Trains the `demo` recipe's head for several seeds, each with scenes of its own, and two controls on
the scenes of seed 0: the same head on a randomly initialised CLIP image tower, and on SAM's tokens
alone (image tokens of zeros). The controls show that unseen colours are named with CLIP's
knowledge and not from the head's memory. Prints a table, and writes it to DIR/tiny_world.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

import torch

from regionspot_core.backbones.clip.encoder import ClipEncoder
from regionspot_core.backbones.loading import BackboneConfig, Backbones, load_backbones
from regionspot_core.backbones.runtime import Runtime
from regionspot_core.tiny.models import build_tiny_clip, load_tiny_clip, tiny_tokenizer
from regionspot_core.tiny.world import World, write_world
from regionspot_evaluate.config import EvaluateConfig
from regionspot_evaluate.run import run_evaluation
from regionspot_extract.config import ExtractConfig
from regionspot_extract.run import run_extraction
from regionspot_train.config import TrainConfig, recipe_or_file
from regionspot_train.run import run_training

VAL_SCENES = 600
Figures = dict[str, float]


class BlindClip(ClipEncoder):
    """CLIP's text side with image tokens of zeros: what SAM's tokens alone can tell."""

    def image_tokens(self, images: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return zeros (B, T, C)."""
        return torch.zeros(len(images), self.token_count, self.token_width)


def random_tower(backbones: Backbones) -> Backbones:
    """Return the trained text tower beside an image tower of random weights."""
    torch.manual_seed(0)
    clip = load_tiny_clip()
    clip.visual.load_state_dict(build_tiny_clip().visual.state_dict())
    encoder = ClipEncoder(
        clip, tiny_tokenizer(), name="random tower", runtime=Runtime.create("cpu")
    )
    return Backbones(backbones.region_encoder, encoder)


def sam_alone(backbones: Backbones) -> Backbones:
    """Return the backbones with a CLIP that gives its text and no image tokens."""
    encoder = BlindClip(
        load_tiny_clip(), tiny_tokenizer(), name="blind", runtime=Runtime.create("cpu")
    )
    return Backbones(backbones.region_encoder, encoder)


def measure(name: str, out: Path, world: World, backbones: Backbones, seed: int) -> Figures:
    """Extract, train and evaluate; region top-1, AP and the baseline's figures."""
    began = time.perf_counter()
    run_extraction(
        ExtractConfig(
            images=world.train_images,
            annotations=world.train_annotations,
            out=out / f"{name}.zarr",
        ),
        backbones=backbones,
    )
    run_training(
        TrainConfig.load(recipe_or_file("demo"), [f"seed={seed}"]),
        store=out / f"{name}.zarr",
        out=out / f"{name}.run",
    )
    report = run_evaluation(
        EvaluateConfig(
            images=world.val_images,
            annotations=world.val_annotations,
            head=out / f"{name}.run",
            out=out / f"{name}.results",
            baseline=("clip-crop",),
        ),
        backbones=backbones,
    )
    head, crops = report.head, report.baselines["clip-crop"]
    box, mask = head.scores["lvis"]["bbox"], head.scores["lvis"]["segm"]
    crop_box = crops.scores["lvis"]["bbox"]
    figures = {
        **head.region.top1,
        **{f"crop {group}": share for group, share in crops.region.top1.items()},
        "AP": box["AP"] or 0.0,
        "APr": box["APr"] or 0.0,
        "mask AP": mask["AP"] or 0.0,
        "crop AP": crop_box["AP"] or 0.0,
        "crop APr": crop_box["APr"] or 0.0,
        "seconds": round(time.perf_counter() - began, 1),
    }
    print(name, {key: round(value, 3) for key, value in figures.items()}, flush=True)
    return figures


def main() -> None:
    """Measure everything and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--scenes", type=int, nargs="+", default=[3000, 5000])
    parser.add_argument("--no-controls", action="store_true")
    arguments = parser.parse_args()
    out: Path = arguments.out
    backbones = load_backbones(BackboneConfig())
    results: dict[str, Figures] = {}
    for scenes in arguments.scenes:
        runs = []
        for seed in range(arguments.seeds):
            world = write_world(
                out / f"world_{scenes}_{seed}",
                train_scenes=scenes,
                val_scenes=VAL_SCENES,
                seed=seed,
            )
            name = f"head {scenes} seed {seed}"
            runs.append(measure(name, out, world, backbones, seed))
            results[name] = runs[-1]
            if scenes == arguments.scenes[0] and seed == 0 and not arguments.no_controls:
                for control, change in (("random CLIP", random_tower), ("SAM alone", sam_alone)):
                    label = f"{control} {scenes} seed {seed}"
                    results[label] = measure(label, out, world, change(backbones), seed)
        results[f"head {scenes} mean"] = {key: mean(run[key] for run in runs) for key in runs[0]}
    (out / "tiny_world.json").write_text(json.dumps(results, indent=2) + "\n")
    columns = ("all", "seen", "frequent", "common", "unseen_composition", "unseen_colour",
               "crop unseen_composition", "AP", "APr", "crop AP")  # fmt: skip
    print("| run | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for name, figures in results.items():
        print(f"| {name} | " + " | ".join(f"{figures[c]:.3f}" for c in columns) + " |")


if __name__ == "__main__":
    main()
