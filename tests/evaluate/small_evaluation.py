"""A small evaluation: a world of a few images, one of them broken, and two heads."""

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import torch

from regionspot_core.backbones.loading import Backbones
from regionspot_core.datasets.reading import read_annotations
from regionspot_core.heads.checkpoint import HeadRecord, save_head
from regionspot_core.heads.fusion import FusionConfig, FusionHead
from regionspot_core.text.class_text import TextConfig
from regionspot_core.text.embed import build_class_bank
from regionspot_core.tiny.world import write_world
from regionspot_evaluate.config import EvaluateConfig
from regionspot_evaluate.recognition.baselines.names import BASELINES, results_file

IMAGES, BATCH = 11, 2
BATCHES = 6
BROKEN = 4
FILES = ("detections.json.gz", "metrics.json", "images.jsonl", "predictions.png")
BASELINE_FILES = tuple(results_file(name) for name in BASELINES)
QUICK_BASELINE = ("clip-pool",)
QUICK_FILES = (*FILES, *map(results_file, QUICK_BASELINE))
"""What an evaluation by `quick_config` leaves."""


def write_place(folder: Path, backbones: Backbones) -> Path:
    """A small world and two heads that have learnt nothing.

    ``world/whole`` has the images of ``world/val``, and none of them is broken.
    """
    write_world(folder / "world", train_scenes=2, val_scenes=IMAGES, seed=3)
    for seed, name in enumerate(("first", "second")):
        torch.manual_seed(seed)
        sam, clip = backbones.region_encoder, backbones.image_text_encoder
        widths = FusionConfig(
            region_width=sam.token_width,
            image_width=clip.token_width,
            text_width=clip.text_width,
            layers=1,
        )
        head = FusionHead(widths)
        save_head(folder / name, head, HeadRecord(head.config, backbones.fingerprint, {}))
    annotations = read_annotations(folder / "world" / "val.json")
    simple = TextConfig(templates="simple")
    bank = build_class_bank(backbones.image_text_encoder, annotations.vocabulary, simple)
    bank.save(folder / "bank.h5")
    shutil.copytree(folder / "world" / "val", folder / "world" / "whole")
    broken = sorted((folder / "world" / "val").iterdir())[BROKEN]
    broken.write_bytes(broken.read_bytes()[:100])
    return folder


def results_in(path: Path) -> list[dict[str, Any]]:
    """The entries of a packed results file."""
    entries: list[dict[str, Any]] = json.loads(gzip.decompress(path.read_bytes()))
    return entries


def config(place: Path, out: Path, **changes: Any) -> EvaluateConfig:
    values = {
        "images": place / "world" / "val", "annotations": place / "world" / "val.json",
        "heads": [place / "first"], "out": out, "batch_images": BATCH, "gallery": 1,
        "bank": place / "bank.h5", "baseline": BASELINES,
    }  # fmt: skip
    return EvaluateConfig.parse({**values, **changes}, source="test")


def quick_config(place: Path, out: Path, **changes: Any) -> EvaluateConfig:
    """The same with one baseline and fewer detections, for tests of how the work is divided."""
    return config(place, out, **{"baseline": QUICK_BASELINE, "detections": 40, **changes})
