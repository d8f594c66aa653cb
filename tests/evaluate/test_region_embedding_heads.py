"""Heads that take CLIP's own embeddings of regions: live as from a store, and stores without."""

from pathlib import Path

import numpy as np
import pytest
import torch

from regionspot_core.backbones.loading import Backbones
from regionspot_core.cache.read.reader import FeatureCache
from regionspot_core.datasets.reading import read_annotations
from regionspot_core.errors import InputError
from regionspot_core.heads.cached import embed
from regionspot_core.heads.checkpoint import load_head, read_record
from regionspot_core.imaging.images import read_image
from regionspot_core.imaging.prompts import BoxPrompts
from regionspot_core.tiny.world import write_world
from regionspot_evaluate.cached import run_cached_evaluation
from regionspot_evaluate.config import CachedConfig
from regionspot_evaluate.recognition.recognizer import Recognizer
from regionspot_extract.config import ExtractConfig
from regionspot_extract.run import run_extraction
from regionspot_train.config import TrainConfig, recipe_or_file
from regionspot_train.run import run_training

CPU = torch.device("cpu")
SCENES = 3
SETTINGS = ["steps=4", "batch_images=2", "checkpoint_every=4", "head.layers=1"]


@pytest.fixture(scope="module")
def place(bank: Path, backbones: Backbones, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One world's stores of every kind, and a head of each kind that has some."""
    folder = tmp_path_factory.mktemp("embeddings")
    world = write_world(folder / "world", train_scenes=SCENES, val_scenes=1, seed=5)
    for kind in ("tokens", "crop", "masked-crop", "none"):
        asked = {
            "images": world.train_images, "annotations": world.train_annotations, "bank": bank,
            "out": folder / f"{kind}.zarr",
            "keep": {"region_embedding": kind, "region_masks": kind == "crop"},
        }  # fmt: skip
        run_extraction(ExtractConfig.parse(asked, source="test"), backbones=backbones)
    for kind, use in (("tokens", "residual"), ("crop", "query"), ("masked-crop", "residual")):
        own = [f"head.region_embedding={use}", f"head.mask_geometry={kind == 'crop'}".lower()]
        settings = TrainConfig.load(recipe_or_file("demo"), [*SETTINGS, *own])
        run_training(settings, store=folder / f"{kind}.zarr", out=folder / kind)
    return folder


@pytest.mark.parametrize("kind", ["tokens", "crop", "masked-crop"])
def test_live_logits_are_the_cached_ones(place: Path, backbones: Backbones, kind: str) -> None:
    cache, head = FeatureCache(place / f"{kind}.zarr"), load_head(place / kind)
    assert read_record(place / kind).config.region_embeddings == kind
    annotations, bank = read_annotations(place / "world" / "train.json"), cache.class_bank()
    recognizer = Recognizer(backbones, head, bank, device=CPU)
    files = [place / "world" / "train" / name for name in annotations.image_file]
    encoded = recognizer.encode([read_image(file) for file in files])
    batch = cache.read(range(len(cache)))
    with torch.inference_mode():
        embedded, mask = embed(head, batch.as_float(CPU), cache.plan.keep.sam_tokens, CPU)
        cached = head.logits(embedded, torch.from_numpy(bank.embeddings), bank.logit_scale)
    scale = float(cached.abs().max())
    for slot, image in enumerate(encoded):
        boxes = BoxPrompts(annotations.box[annotations.regions(slot)])
        live = recognizer.recognize(image, boxes).logits
        assert np.abs(cached[slot, mask[slot]].numpy() - live).max() <= 4e-3 * scale


def test_images_that_another_recognizer_encoded(place: Path, backbones: Backbones) -> None:
    head, bank = load_head(place / "tokens"), FeatureCache(place / "tokens.zarr").class_bank()
    other = Recognizer(backbones, load_head(place / "crop"), bank, device=CPU)
    recognizer = Recognizer(backbones, head, bank, device=CPU)
    image = np.zeros((40, 50, 3), np.uint8)
    regions = other.segment(other.encode([image])[0], BoxPrompts(np.array([[1.0, 2, 30, 40]])))
    with pytest.raises(InputError, match=r"embed_regions=\{'tokens'\}"):
        recognizer.classify(other.encode([image]), [regions])
    both = Recognizer(
        backbones, load_head(place / "crop"), bank, device=CPU, embed_regions={"tokens"}
    )
    encoded = both.encode([image])
    regions = both.segment(encoded[0], BoxPrompts(np.array([[1.0, 2, 30, 40]])))
    assert regions.embeddings.keys() == {"tokens", "crop"}
    assert recognizer.classify(encoded, [regions])[0].logits.shape == (1, len(bank.vocabulary))


@pytest.mark.parametrize(
    ("store", "said"),
    [
        ("none", r"none\.zarr keeps no region embeddings, which the head takes; extract it with"),
        ("crop", r"crop\.zarr keeps region embeddings of --region-embedding crop, and the head"),
    ],
)
def test_a_store_without_what_a_head_needs(place: Path, store: str, said: str) -> None:
    asked = {"cache": place / f"{store}.zarr", "heads": [place / "tokens"], "device": "cpu"}
    with pytest.raises(InputError, match=said):
        run_cached_evaluation(CachedConfig.parse(asked, source="test"))


def test_training_on_a_store_without_them(place: Path, tmp_path: Path) -> None:
    settings = TrainConfig.load(
        recipe_or_file("demo"), [*SETTINGS, "head.region_embedding=residual"]
    )
    with pytest.raises(InputError, match=r"none\.zarr keeps no region embeddings"):
        run_training(settings, store=place / "none.zarr", out=tmp_path / "run")
    settings = TrainConfig.load(recipe_or_file("demo"), [*SETTINGS, "head.mask_geometry=true"])
    with pytest.raises(InputError, match=r"none\.zarr keeps no masks .* with --region-masks"):
        run_training(settings, store=place / "none.zarr", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
