"""How well heads name the tiny world's regions: the paper's, ours, the steps between, the controls.

    python benchmarks/accuracy.py --out DIR [--seeds 0 1 2] [--scenes 3000 600] [--steps N]

Every seed has scenes of its own, the seed of its heads, and weights of score fusion of its own,
which `evaluate tune` finds with a head that never saw a tenth of the labelled classes and of the
images. Three controls: a CLIP image tower of random weights, SAM's tokens alone (image tokens of
zeros), and either of two right, which no fusion can pass. Figures are those of `evaluate cached`.

What a seed has is kept in DIR/accuracy.json, and is not measured again. DIR/accuracy.md has the
table, mean and spread (largest less smallest) over the seeds; DIR/accuracy.png the picture.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from regionspot_core.backbones.clip.encoder import ClipEncoder
from regionspot_core.backbones.clip.region_views import EncodedBlocks
from regionspot_core.backbones.loading import BackboneConfig, Backbones, load_backbones
from regionspot_core.backbones.runtime import Runtime
from regionspot_core.cache.read.reader import FeatureCache
from regionspot_core.heads.score_fusion import ScoreFusion
from regionspot_core.tiny.models import build_tiny_clip, load_tiny_clip, tiny_tokenizer
from regionspot_core.tiny.world import World, write_world
from regionspot_evaluate.cached import run_cached_evaluation
from regionspot_evaluate.config import CachedConfig
from regionspot_evaluate.recognition.baselines.zero_shot import ZeroShot
from regionspot_evaluate.recognition.cached_head import CachedHead
from regionspot_evaluate.scoring.classification import RegionNaming
from regionspot_evaluate.tuning.config import TuneConfig
from regionspot_evaluate.tuning.run import run_tuning
from regionspot_extract.config import ExtractConfig
from regionspot_extract.run import run_extraction
from regionspot_train.config import TrainConfig, recipe_or_file
from regionspot_train.run import run_training

Figures = dict[str, float]
Measure = Callable[[], Figures]
COLUMNS = {
    "all": "all",
    "seen": "seen",
    "unseen_colour": "unseen colours",
    "unseen_composition": "unseen compositions",
    "AP": "box AP",
    "APr": "APr",
}
PAPER, OURS = "the paper's head", "`mask-demo`"
SHORT = "the paper's head, 600 steps"
WITHOUT = "`mask-demo` without the residual"
INGREDIENTS = {
    "all of SAM's tokens": "head.region_tokens=all",
    "box": "head.box_geometry=true",
    "positions of image tokens": "head.image_positions=sincos",
    "SAM's mask": "head.mask_geometry=true",
    "region token as a residual": "head.region_embedding=residual",
}
HEADS: dict[str, tuple[str, tuple[str, ...]]] = {
    PAPER: ("demo", ()),
    SHORT: ("demo", ("steps=600",)),
    **{f"… and {name}": ("demo", ("steps=600", change)) for name, change in INGREDIENTS.items()},
    WITHOUT: ("mask-demo", ("head.region_embedding=none",)),
    OURS: ("mask-demo", ()),
}
"""Recipe and settings of each head, by the name of its row."""
OPINIONS = {"region-tokens": "tokens", "region-crop": "crop"}
"""What stores keep for each of CLIP's opinions."""
HELD_OUT = ("data.hold_out_classes=0.1", "data.split=0.1")
PLOTTED = (f"random image tower: {OURS}", PAPER, WITHOUT, OURS)


class BlindClip(ClipEncoder):
    """CLIP's text side with image tokens of zeros: what SAM alone can tell."""

    def encode(self, images: Sequence[torch.Tensor]) -> EncodedBlocks:
        """Return zeros (B, T, C) beside what the blocks took in."""
        encoded = super().encode(images)
        return replace(encoded, tokens_BTC=torch.zeros_like(encoded.tokens_BTC))


def random_tower() -> ClipEncoder:
    """Return the trained text tower beside an image tower of random weights."""
    torch.manual_seed(0)
    clip = load_tiny_clip()
    clip.visual.load_state_dict(build_tiny_clip().visual.state_dict())
    return ClipEncoder(clip, tiny_tokenizer(), name="random-tower", runtime=Runtime.create("cpu"))


def blind_clip() -> ClipEncoder:
    """Return a CLIP that sees nothing."""
    return BlindClip(
        load_tiny_clip(), tiny_tokenizer(), name="blind", runtime=Runtime.create("cpu")
    )


@dataclass(frozen=True)
class Stores:
    """Extracts a world's stores where they are first asked for."""

    folder: Path
    world: World
    backbones: Backbones

    def extract(self, split: str, region_embedding: str) -> Path:
        """Return the store of a split that keeps one kind of CLIP's opinion, and SAM's masks."""
        out = self.folder / f"{split}-{region_embedding}.zarr"
        asked = ExtractConfig.parse(
            {
                "images": self.world.folder / split,
                "annotations": self.world.folder / f"{split}.json",
                "out": out,
                "keep": {"region_embedding": region_embedding, "region_masks": True},
            },
            source="accuracy",
        )
        run_extraction(asked, backbones=self.backbones)
        return out

    def validation(self, opinion: str) -> Path:
        """Return the store whose regions are reported."""
        return self.extract("val", OPINIONS[opinion])

    def training(self, opinion: str) -> Path:
        """Return the store that heads are trained and tuned on."""
        return self.extract("train", OPINIONS[opinion])


def score(head: Path, store: Path, fusion: ScoreFusion | None = None) -> Figures:
    """Return the figures of a head on a store, alone or joined with CLIP's opinion."""
    fuse: dict[str, object] = {"opinion": "none"}
    if fusion is not None:
        fuse = {key: value for key, value in fusion.to_json().items() if key != "tuned"}
    config = CachedConfig.parse({"cache": store, "heads": [head], "fuse": fuse}, source="accuracy")
    (found,) = run_cached_evaluation(config).heads.values()
    return {**found.region.top1, "AP": found.box["AP"] or 0.0, "APr": found.box["APr"] or 0.0}


@dataclass(frozen=True)
class Seed:
    """The rows of one seed, each a function that measures it."""

    stores: Stores
    seed: int
    steps: int | None
    """Steps of all heads in place of the recipes'."""

    def rows(self) -> Iterator[tuple[str, Measure]]:
        """Yield the name of each row and the function that measures it."""
        for name in HEADS:
            yield name, partial(self._alone, name)
        yield f"{OURS} on a store of crops", partial(self._alone, OURS, "region-crop")
        fused = {"region-tokens": (PAPER, WITHOUT, OURS), "region-crop": (PAPER, WITHOUT)}
        for opinion, names in fused.items():
            yield f"CLIP alone, {opinion}", partial(self._clip, opinion)
            for name in names:
                yield f"{name} × {opinion}", partial(self._fused, name, opinion)
                yield f"{name} or {opinion}, either right", partial(self._either, name, opinion)
        random, blind = self._with(random_tower()), self._with(blind_clip())
        for name in (WITHOUT, OURS):
            yield f"random image tower: {name}", partial(random._alone, name)
        yield (
            f"random image tower: {WITHOUT} × region-tokens",
            partial(random._fused, WITHOUT, "region-tokens"),
        )
        yield f"SAM alone: {WITHOUT}", partial(blind._alone, WITHOUT)

    def _with(self, clip: ClipEncoder) -> Seed:
        """Return the same rows of a store that another CLIP makes."""
        stores = self.stores
        backbones = Backbones(stores.backbones.region_encoder, clip)
        return Seed(
            Stores(stores.folder / clip.name, stores.world, backbones), self.seed, self.steps
        )

    def _train(self, name: str, *held_out: str, opinion: str = "region-tokens") -> Path:
        """Return the folder of a head by the name of its row, trained if it is not there yet.

        Args:
            name: Name of the row.
            held_out: Settings that hold classes and images out.
            opinion: What CLIP's embeddings of regions are of, for a head that takes them.
        """
        recipe, settings = HEADS[name]
        steps = [] if self.steps is None else [f"steps={self.steps}"]
        config = TrainConfig.load(
            recipe_or_file(recipe),
            [f"seed={self.seed}", f"data.hold_out_seed={self.seed}", *settings, *held_out, *steps],
        )
        mark = "-twin" * bool(held_out) + "-crop" * (opinion == "region-crop")
        out = self.stores.folder / f"head-{list(HEADS).index(name)}{mark}"
        store = self.stores.training(opinion)
        run_training(config, store=store, out=out, resume=True, pictured=False)
        return out

    def _alone(self, name: str, opinion: str = "region-tokens") -> Figures:
        head = self._train(name, opinion=opinion)
        return score(head, self.stores.validation(opinion))

    def _clip(self, opinion: str) -> Figures:
        only = ScoreFusion(opinion=opinion, weight_seen=1, weight_unseen=1)
        head = self._train(SHORT)
        return score(head, self.stores.validation(opinion), only)

    def _fused(self, name: str, opinion: str) -> Figures:
        """Measure a head joined with CLIP by weights that its held-out twin was tuned for."""
        head = self._train(name)
        twin = self._train(name, *HELD_OUT)
        asked = {"cache": self.stores.training(opinion), "head": twin, "into": head}
        fusion = run_tuning(TuneConfig.parse(asked, source="accuracy")).fusion
        print(fusion.line, flush=True)
        numbers = {
            key: float(value)
            for key, value in fusion.to_json().items()
            if key not in ("opinion", "tuned")
        }
        return score(head, self.stores.validation(opinion), fusion) | numbers

    def _either(self, name: str, opinion: str) -> Figures:
        """Measure how often a head or CLIP is right: an oracle that knows whom to believe."""
        head = self._train(name)
        cache = FeatureCache(self.stores.validation(opinion))
        bank = cache.class_bank()
        own, clip = CachedHead(head, cache, bank, device=torch.device("cpu")), ZeroShot(bank)
        naming = RegionNaming(cache.vocabulary)
        for start in range(0, len(cache), 100):
            batch = cache.read(np.arange(start, min(start + 100, len(cache))))
            classes = batch.classes[batch.mask].numpy()
            answers = (
                own.logits(batch.as_float(torch.device("cpu")))[batch.mask].numpy(),
                clip.probabilities(batch.region_embeddings[batch.mask].float()),
            )
            right = np.any([each.argmax(-1) == classes for each in answers], axis=0)
            naming.add_ranks(np.where(right, 0, len(bank.embeddings)).tolist(), classes.tolist())
        return dict(naming.figures().top1)


Results = dict[str, dict[str, Figures]]
"""Figures by seed and by row."""


def figures(results: Results, row: str, column: str) -> NDArray[np.float64]:
    """Return × 100 a row's figures of the seeds that have them."""
    found = [seed[row][column] for seed in results.values() if column in seed.get(row, {})]
    return 100 * np.array(found)


def label(results: Results, row: str) -> str:
    """Return a row's name, with its seeds where some are missing."""
    measured = [seed for seed, rows in results.items() if row in rows]
    return row if len(measured) == len(results) else f"{row} (seed {', '.join(measured)})"


def table(results: Results) -> str:
    """Return the rows as a Markdown table: mean and spread."""
    lines = [
        f"| × 100, seeds {', '.join(results)} | " + " | ".join(COLUMNS.values()) + " |",
        "|---" * (len(COLUMNS) + 1) + "|",
    ]
    for row in next(iter(results.values())):
        cells = []
        for column in COLUMNS:
            found = figures(results, row, column)
            several = f" ({np.ptp(found):.1f})" if len(found) > 1 else ""
            cells.append(f"{found.mean():.1f}{several}" if len(found) else "–")
        lines.append(f"| {label(results, row)} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def weights_table(results: Results) -> str:
    """Return what the tunings found, as a Markdown table."""
    names = ("weight_seen", "weight_unseen", "head_temperature", "clip_temperature")
    lines = ["| tuned | w seen | w unseen | T head | T CLIP |", "|---|---|---|---|---|"]
    for row in next(iter(results.values())):
        found = [
            [seed[row][name] for name in names]
            for seed in results.values()
            if names[0] in seed.get(row, {})
        ]
        if found:
            cells = (", ".join(f"{v:.2f}" for v in values) for values in zip(*found, strict=True))
            lines.append(f"| {label(results, row)} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def draw(results: Results, path: Path) -> None:
    """Draw bars of the means, and a dot for each seed."""
    from matplotlib.figure import Figure

    groups = [column for column in COLUMNS if column not in ("AP", "APr")]
    colours = ("#9aa5b1", "#7fb2e5", "#2f7fd0", "#123f73")
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axis = figure.subplots()
    width = 0.8 / len(PLOTTED)
    for place, (row, colour) in enumerate(zip(PLOTTED, colours, strict=True)):
        at = np.arange(len(groups)) + (place - (len(PLOTTED) - 1) / 2) * width
        found = [figures(results, row, group) for group in groups]
        axis.bar(
            at,
            [values.mean() for values in found],
            width * 0.92,
            color=colour,
            label=row.replace("`", ""),
        )
        for x, values in zip(at, found, strict=True):
            axis.plot(np.full(len(values), x), values, "o", color="black", markersize=2.5)
    axis.set_xticks(range(len(groups)), [COLUMNS[group] for group in groups])
    axis.set_ylabel("region top-1, %")
    axis.set_ylim(0, 100)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.1))
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measure what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--scenes", type=int, nargs=2, default=[3000, 600])
    parser.add_argument("--steps", type=int, help="to see that it runs: of all heads")
    arguments = parser.parse_args()
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    record = out / "accuracy.json"
    results: Results = json.loads(record.read_text()) if record.exists() else {}
    backbones = load_backbones(BackboneConfig())
    for seed in arguments.seeds:
        folder = out / f"seed-{seed}"
        train_scenes, val_scenes = arguments.scenes
        world = write_world(
            folder / "world", train_scenes=train_scenes, val_scenes=val_scenes, seed=seed
        )
        found = results.setdefault(str(seed), {})
        for row, measure in Seed(Stores(folder, world, backbones), seed, arguments.steps).rows():
            if row not in found:
                found[row] = measure()
                record.write_text(json.dumps(results, indent=1) + "\n")
                print(seed, row, {k: round(v, 3) for k, v in found[row].items()}, flush=True)
        (out / "accuracy.md").write_text(table(results) + "\n" + weights_table(results))
        draw(results, out / "accuracy.png")
    print((out / "accuracy.md").read_text())


if __name__ == "__main__":
    main()
