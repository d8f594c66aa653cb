"""All three stages on photographs with published architectures, SAM's ViT-B and CLIP's ViT-B/16.

Their weights are random, since none can be fetched here; the head learns the photographs' 14
regions by heart, so that the figures are not those of chance. SAM's input is 256 pixels: at 1024
the test would take minutes, and nothing in it depends on that.
"""

import zipfile
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from segment_anything import sam_model_registry

from regionspot_core.backbones.loading import BackboneConfig, Backbones, load_backbones
from regionspot_core.cache.read.reader import FeatureCache
from regionspot_core.datasets.reading import read_annotations
from regionspot_core.heads.cached import embed
from regionspot_core.heads.checkpoint import load_head
from regionspot_core.imaging.images import read_image
from regionspot_core.imaging.prompts import BoxPrompts
from regionspot_core.text.class_text import TextConfig
from regionspot_core.text.embed import build_class_bank
from regionspot_evaluate.cached import run_cached_evaluation
from regionspot_evaluate.config import CachedConfig, EvaluateConfig
from regionspot_evaluate.recognition.recognizer import Recognizer
from regionspot_evaluate.run import run_evaluation
from regionspot_extract.config import ExtractConfig
from regionspot_extract.run import run_extraction
from regionspot_train.config import TrainConfig, recipe_or_file
from regionspot_train.run import run_training

pytestmark = pytest.mark.slow

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
        "heads": [place / "head"], "out": place / "results", "backbones": config,
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
    for name, figure in live.head.scores["lvis"]["bbox"].values.items():
        assert cached.box[name] == (None if figure is None else pytest.approx(figure, abs=1e-3))


def test_boxes_in_a_csv_and_photographs_in_a_zip(
    place: Path, config: BackboneConfig, backbones: Backbones, photos: Path, tmp_path: Path
) -> None:
    """The same tokens, and box figures by COCO's rules."""
    annotations = read_annotations(photos / "annotations.json")
    lines = ["file,x1,y1,x2,y2,name"]
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for image, file in enumerate(annotations.image_file):
            archive.write(photos / file, file)
            for region in range(*annotations.regions(image).indices(len(annotations.box))):
                corners = ",".join(map(str, annotations.box[region].tolist()))
                name = annotations.vocabulary.names[annotations.class_index[region]]
                lines.append(f"{file},{corners},{name}")
    (tmp_path / "boxes.csv").write_text("\n".join(lines))
    given = {"images": tmp_path / "photos.zip", "annotations": tmp_path / "boxes.csv"}
    asked = {**given, "out": tmp_path / "store.zarr", "backbones": config}
    run_extraction(ExtractConfig.parse(asked, source="test"), backbones=backbones)
    found, expected = (
        FeatureCache(folder / "store.zarr").read(list(range(len(annotations))))
        for folder in (tmp_path, place)
    )
    assert torch.equal(found.image_tokens, expected.image_tokens)
    assert torch.equal(found.region_tokens, expected.region_tokens)
    asked = {
        **given, "heads": [place / "head"], "out": tmp_path / "results", "backbones": config,
        "all_images": True, "baseline": ["none"],
    }  # fmt: skip
    report = run_evaluation(EvaluateConfig.parse(asked, source="test"), backbones=backbones)
    assert set(report.head.scores) == {"coco"}
    assert set(report.head.scores["coco"]) == {"bbox"}
    assert report.head.region.top1["all"] > 0.7  # as with the LVIS file


def cosines(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cosine_similarity(a.double(), b.double(), dim=-1)


def test_bfloat16_stays_near_float32(
    place: Path, config: BackboneConfig, backbones: Backbones, photos: Path
) -> None:
    """Each token's direction, and each logit by less than 0.5 of 100."""
    lower = load_backbones(config.model_copy(update={"precision": "bfloat16"}))
    head, bank = load_head(place / "head"), FeatureCache(place / "store.zarr").class_bank()
    annotations = read_annotations(photos / "annotations.json")
    images = [read_image(photos / annotations.image_file[0])]
    exact, found = (Recognizer(each, head, bank, device=CPU) for each in (backbones, lower))
    scale = float(head.log_scale.detach().exp())
    differ = 0.0
    for slot, (a, b) in enumerate(zip(exact.encode(images), found.encode(images), strict=True)):
        prompts = BoxPrompts(annotations.box[annotations.regions(slot)])
        assert cosines(a.image_tokens, b.image_tokens).min() >= 0.999
        seen, seen_low = exact.segment(a, prompts), found.segment(b, prompts)
        assert cosines(seen.tokens_RMS, seen_low.tokens_RMS).min() >= 0.999
        logits, low = (
            exact.classify([a], [seen])[0].logits,
            found.classify([b], [seen_low])[0].logits,
        )
        differ = max(differ, float(np.abs(logits - low).max()))
    assert 0 < differ <= 0.005 * scale


@pytest.mark.parametrize("count", [0, 1, 500])
def test_an_image_and_its_regions_are_the_same_in_any_company(
    backbones: Backbones, photos: Path, count: int
) -> None:
    sam, clip = backbones.region_encoder, backbones.image_text_encoder
    images = [read_image(photos / name) for name in ("dog.jpg", "truck.jpg")]
    sizes = [image.shape[:2] for image in images]
    random = np.random.default_rng(0)
    corners = np.sort(random.random((count, 2, 2)), axis=1) * [sizes[0][1], sizes[0][0]]
    boxes, others = corners.reshape(-1, 4), np.array([[10.0, 10, 200, 300]] * 3)
    views = [(sam.prepare(image), clip.prepare(image)) for image in images]
    alone = clip.image_tokens([views[0][1]])
    assert (clip.image_tokens([v[1] for v in views])[:1] - alone).abs().max() <= 1e-3
    embedding = sam.embed([views[0][0]])
    together = sam.embed([v[0] for v in views])
    assert (together[:1] - embedding).abs().max() <= 1e-3
    own = sam.decode(embedding, [boxes], sizes[:1])
    mixed = sam.decode(together, [boxes, others], sizes)
    assert own.tokens_NMS.shape == (count, 5, 256)
    assert len(mixed.tokens_NMS) == count + 3
    assert torch.allclose(mixed.tokens_NMS[:count], own.tokens_NMS, atol=1e-3)
    assert torch.allclose(mixed.iou_NQ[:count], own.iou_NQ, atol=1e-3)
