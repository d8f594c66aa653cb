"""All three stages on photographs with published architectures, SAM's ViT-B and CLIP's ViT-B/16.

Their weights are random, since none can be fetched here; the head learns the photographs' 14
regions by heart, so that the figures are not those of chance. SAM's input is 256 pixels: at 1024
the test would take minutes, and nothing in it depends on that.
"""

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from segment_anything import sam_model_registry

from regionspot_core.backbones.loading import BackboneConfig, Backbones, load_backbones
from regionspot_core.backbones.text import build_class_bank
from regionspot_core.cache.reader import FeatureCache
from regionspot_core.cached_head import embed
from regionspot_core.checkpoint import load_head
from regionspot_core.class_text import TextConfig
from regionspot_core.datasets import read_annotations
from regionspot_core.images import read_image
from regionspot_core.prompts import BoxPrompts
from regionspot_evaluate.cached import run_cached_evaluation
from regionspot_evaluate.config import CachedConfig, EvaluateConfig
from regionspot_evaluate.recognizer import Recognizer
from regionspot_evaluate.run import run_evaluation
from regionspot_extract.config import ExtractConfig
from regionspot_extract.run import run_extraction
from regionspot_train.config import TrainConfig, recipe_or_file
from regionspot_train.run import run_training

CPU = torch.device("cpu")
SETTINGS = ["steps=60", "batch_images=3", "optimiser.lr=0.001", "optimiser.warmup_steps=5",
            "head.layers=1", "head.dropout=0"]  # fmt: skip


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> BackboneConfig:
    """Weights as their publishers' files hold them."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    torch.save(sam_model_registry["vit_b"]().state_dict(), folder / "sam.pth")
    clip = open_clip.create_model("ViT-B-16-quickgelu", load_weights=False)
    torch.save(clip.state_dict(), folder / "clip.pt")
    return BackboneConfig(
        sam="vit_b", sam_checkpoint=folder / "sam.pth", sam_input=256,
        clip="ViT-B-16", clip_pretrained=str(folder / "clip.pt"), device="cpu",
        precision="float32",
    )  # fmt: skip


@pytest.fixture(scope="module")
def backbones(config: BackboneConfig) -> Backbones:
    return load_backbones(config)


@pytest.fixture(scope="module")
def place(
    config: BackboneConfig,
    backbones: Backbones,
    photos: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A store of the photographs' tokens, and a head that knows them."""
    folder = tmp_path_factory.mktemp("photos")
    vocabulary = read_annotations(photos / "annotations.json").vocabulary
    simple = TextConfig(templates="simple")
    build_class_bank(backbones.image_text_encoder, vocabulary, simple).save(folder / "bank.h5")
    asked = {
        "images": photos, "annotations": photos / "annotations.json", "bank": folder / "bank.h5",
        "out": folder / "store.zarr", "backbones": config,
    }  # fmt: skip
    run_extraction(ExtractConfig.parse(asked, source="test"), backbones=backbones)
    settings = TrainConfig.load(recipe_or_file("demo"), SETTINGS)
    run_training(settings, store=folder / "store.zarr", out=folder / "head")
    return folder


def test_live_logits_are_the_cached_ones(place: Path, backbones: Backbones, photos: Path) -> None:
    cache, head = FeatureCache(place / "store.zarr"), load_head(place / "head")
    annotations, bank = read_annotations(photos / "annotations.json"), cache.class_bank()
    recognizer = Recognizer(backbones, head, bank, device=CPU)
    encoded = recognizer.encode([read_image(photos / n) for n in annotations.image_file])
    batch = cache.read(list(range(len(cache))))
    with torch.inference_mode():
        embedded, mask = embed(head, batch.as_float(CPU), cache.plan.keep.sam_tokens, CPU)
        cached = head.logits(embedded, torch.from_numpy(bank.embeddings), bank.logit_scale)
    scale = float(head.log_scale.detach().exp())
    for slot, image in enumerate(encoded):
        boxes = annotations.box[annotations.regions(slot)]
        live = recognizer.recognize(image, BoxPrompts(boxes)).logits
        # float16 rounds tokens by 2^-11; the logits' range is ± scale.
        assert np.abs(cached[slot, mask[slot]].numpy() - live).max() <= 2e-3 * scale


def test_live_and_cached_figures_agree(
    place: Path, config: BackboneConfig, backbones: Backbones, photos: Path
) -> None:
    asked = {
        "images": photos, "annotations": photos / "annotations.json", "bank": place / "bank.h5",
        "head": place / "head", "out": place / "results", "backbones": config,
    }  # fmt: skip
    live = run_evaluation(EvaluateConfig.parse(asked, source="test"), backbones=backbones)
    given = {
        "cache": place / "store.zarr", "heads": [place / "head"], "device": "cpu",
        "annotations": photos / "annotations.json",
    }  # fmt: skip
    report = run_cached_evaluation(CachedConfig.parse(given, source="test"))
    (cached,) = report.heads.values()
    assert live.head.region.top1["all"] > 0.7  # one in twelve by chance
    assert cached.region.top1 == live.head.region.top1
    for name, figure in live.head.scores["standard"]["bbox"].values.items():
        assert cached.box[name] == (None if figure is None else pytest.approx(figure, abs=1e-3))
