"""One image's regions: the recogniser's answers, and the command's table, JSON and picture."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as rle_codec

from regionspot_core.backbones.loading import Backbones
from regionspot_core.backbones.protocols import ProposeConfig
from regionspot_core.backbones.sam.encoder import REGIONS_AT_ONCE, SamEncoder
from regionspot_core.datasets.vocabulary import Vocabulary
from regionspot_core.errors import CheckpointError, FingerprintError, ImageError, InputError
from regionspot_core.heads.checkpoint import HeadRecord, save_head
from regionspot_core.heads.fusion import FusionConfig, FusionHead
from regionspot_core.imaging.prompts import BoxPrompts, MaskPrompts, PointPrompts
from regionspot_core.region_tokens import PAPER_TOKEN
from regionspot_core.text.class_text import TextConfig
from regionspot_core.text.embed import build_class_bank
from regionspot_core.tiny.scenes import Scene, make_scene
from regionspot_evaluate.config import PredictConfig
from regionspot_evaluate.predict import run_prediction
from regionspot_evaluate.predicting.summary import PredictReport
from regionspot_evaluate.recognition.choose_backbones import backbones_of_head
from regionspot_evaluate.recognition.recognizer import Recognizer

CPU = torch.device("cpu")
NAMES = ("solid red star", "striped blue ring", "dotted green cross")
SIMPLE = TextConfig(templates="simple")


@pytest.fixture(scope="module")
def head(backbones: Backbones) -> FusionHead:
    torch.manual_seed(0)
    sam, clip = backbones.region_encoder, backbones.image_text_encoder
    widths = FusionConfig(
        region_width=sam.token_width, image_width=clip.token_width, text_width=clip.text_width
    )
    return FusionHead(widths).eval()


@pytest.fixture(scope="module")
def recognizer(backbones: Backbones, head: FusionHead) -> Recognizer:
    clip = backbones.image_text_encoder
    bank = build_class_bank(clip, Vocabulary.from_names(NAMES), SIMPLE)
    return Recognizer(backbones, head, bank, device=CPU)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene(np.random.default_rng(8))


@pytest.fixture
def place(tmp_path: Path, backbones: Backbones, head: FusionHead, scene: Scene) -> Path:
    """A folder with a picture, a mask of its first object, and a head."""
    Image.fromarray(scene.image).save(tmp_path / "scène.png")
    Image.fromarray(scene.masks[0]).save(tmp_path / "mask.png")
    save_head(tmp_path / "head", head, HeadRecord(head.config, backbones.fingerprint, {}))
    return tmp_path


def test_logits_are_the_heads_on_the_models_tokens(
    recognizer: Recognizer, backbones: Backbones, head: FusionHead, scene: Scene
) -> None:
    sam, clip = backbones.region_encoder, backbones.image_text_encoder
    tokens = sam.decode(sam.embed([sam.prepare(scene.image)]), [scene.boxes], [(96, 96)])
    bank = build_class_bank(clip, Vocabulary.from_names(NAMES), SIMPLE)
    with torch.no_grad():
        embedded = head(
            tokens.tokens_NMS[None, :, PAPER_TOKEN], clip.image_tokens([clip.prepare(scene.image)])
        )
        expected = head.logits(embedded, torch.from_numpy(bank.embeddings), bank.logit_scale)[0]
    (encoded,) = recognizer.encode([scene.image])
    found = recognizer.recognize(encoded, BoxPrompts(scene.boxes))
    np.testing.assert_allclose(found.logits, expected.numpy(), atol=1e-4)
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(found.predicted_iou, tokens.iou_NQ[:, 0].numpy(), atol=1e-5)
    assert np.array_equal(found.boxes, scene.boxes)


@pytest.mark.parametrize("kind", ["boxes", "masks"])
def test_a_head_with_options_is_given_all_that_it_was_trained_on(
    backbones: Backbones, head: FusionHead, scene: Scene, kind: str
) -> None:
    """All of a region's tokens, and the boxes of the prompts or those around the masks."""
    sam, clip = backbones.region_encoder, backbones.image_text_encoder
    options = {
        "region_tokens": "all", "region_token_count": sam.token_count, "box_geometry": True,
        "image_pooling": 2, "image_positions": "learned", "image_tokens": clip.token_count,
        "shared_keys": True, "width": 32,
    }  # fmt: skip
    torch.manual_seed(0)
    other = FusionHead(FusionConfig.parse({**head.config.to_json(), **options}, source="test"))
    bank = build_class_bank(clip, Vocabulary.from_names(NAMES), SIMPLE)
    recognizer = Recognizer(backbones, other, bank, device=CPU)
    image = scene.image[:, :80]
    box = np.array([[8.0, 4.0, 72.0, 90.0]])
    mask = np.zeros((1, 96, 80), dtype=bool)
    mask[0, 10:40, 20:60] = True
    prompts = BoxPrompts(box) if kind == "boxes" else MaskPrompts.create(mask, (96, 80))
    (encoded,) = recognizer.encode([image])
    found = recognizer.recognize(encoded, prompts)
    with torch.inference_mode():
        (segmented,) = sam.segment(encoded.embedding, prompts, (96, 80))
        scaled = torch.from_numpy(found.boxes / [80, 96, 80, 96]).float()[None]
        tokens = segmented.tokens.tokens_NMS.flatten(1)[None]
        embedded = other(tokens, encoded.image_tokens, None, scaled)
        expected = other.logits(embedded, torch.from_numpy(bank.embeddings), bank.logit_scale)[0]
        moved = other(tokens, encoded.image_tokens, None, scaled / 2)
    np.testing.assert_allclose(found.logits, expected.numpy(), atol=1e-4)
    assert not torch.allclose(embedded, moved, atol=1e-3)
    if kind == "boxes":
        assert np.array_equal(found.boxes, box)


def test_points_and_masks_come_with_the_box_of_what_was_found(
    recognizer: Recognizer, scene: Scene
) -> None:
    (encoded,) = recognizer.encode([scene.image])
    y, x = np.argwhere(scene.masks[0])[scene.masks[0].sum() // 2]
    for prompts in (
        PointPrompts.create([[x + 0.5, y + 0.5]], (96, 96)),
        MaskPrompts.create(scene.masks[:1], (96, 96)),
    ):
        found = recognizer.recognize(encoded, prompts)
        rows, columns = np.nonzero(rle_codec.decode(found.masks[0]))
        tight = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert found.boxes.tolist() == [tight]
        assert found.logits.shape == (1, 3)


def test_an_encoded_image_serves_another_vocabulary(
    recognizer: Recognizer, backbones: Backbones, scene: Scene
) -> None:
    (encoded,) = recognizer.encode([scene.image])
    clip = backbones.image_text_encoder
    two = build_class_bank(clip, Vocabulary.from_names(NAMES[::-2]), SIMPLE)
    boxes = BoxPrompts(scene.boxes)
    every = recognizer.recognize(encoded, boxes).logits
    some = recognizer.with_classes(two).recognize(encoded, boxes).logits
    np.testing.assert_allclose(some, every[:, ::-2], atol=1e-5)


def test_images_of_several_sizes_and_no_image(recognizer: Recognizer, scene: Scene) -> None:
    images = [scene.image, scene.image[:40], scene.image[:1, :1]]
    encoded = recognizer.encode(images)
    assert [image.size for image in encoded] == [(96, 96), (40, 96), (1, 1)]
    found = recognizer.recognize(encoded[1], BoxPrompts(np.array([[0.0, 0, 30, 40]])))
    assert found.masks[0]["size"] == [40, 96]
    nothing = recognizer.recognize(encoded[2], BoxPrompts(np.zeros((0, 4))))
    assert (nothing.logits.shape, nothing.masks, len(nothing.boxes)) == ((0, 3), [], 0)
    assert recognizer.encode([]) == []


def test_images_named_together_are_named_as_alone(recognizer: Recognizer) -> None:
    """Of 0, 1 and several regions: rows that pad an image change nothing."""
    scenes = [make_scene(np.random.default_rng(seed)) for seed in (1, 2, 3)]
    encoded = recognizer.encode([scene.image for scene in scenes])
    prompts = [scenes[0].boxes, np.zeros((0, 4)), scenes[2].boxes[:1]]
    seen = [
        recognizer.segment(image, BoxPrompts(boxes))
        for image, boxes in zip(encoded, prompts, strict=True)
    ]
    assert len(scenes[0].boxes) > 1
    together = recognizer.classify(encoded, seen)
    assert [found.logits.shape for found in together] == [(len(p), 3) for p in prompts]
    for found, image, regions in zip(together, encoded, seen, strict=True):
        (alone,) = recognizer.classify([image], [regions])
        np.testing.assert_allclose(found.logits, alone.logits, atol=1e-4)
        assert (found.masks, found.boxes.tolist()) == (alone.masks, alone.boxes.tolist())
    assert recognizer.classify([], []) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"region_width": 8}, "SAM tiny's region tokens of width 8, these are 128 wide"),
        ({"region_tokens": "all", "region_token_count": 4}, "of width 512, these are 640 wide"),
        ({"image_width": 16}, "CLIP tiny's image tokens of width 16"),
        ({"text_width": 16}, "class embeddings of width 16"),
    ],
)
def test_a_head_of_other_widths_is_refused(
    change: dict[str, Any], message: str, backbones: Backbones, head: FusionHead
) -> None:
    bank = build_class_bank(backbones.image_text_encoder, Vocabulary.from_names(NAMES), SIMPLE)
    other = FusionHead(head.config.model_copy(update=change))
    with pytest.raises(FingerprintError, match=message):
        Recognizer(backbones, other, bank, device=CPU)


def predict(place: Path, backbones: Backbones, **changes: object) -> PredictReport:
    values = {
        "pictures": [place / "scène.png"],
        "head": place / "head",
        "out": place / "out",
        "names": ",".join(NAMES),
    }
    config = PredictConfig.parse({**values, **changes}, source="test")
    report = run_prediction(config, backbones=backbones)
    assert isinstance(report, PredictReport)
    return report


def test_every_kind_of_prompt_in_one_call(place: Path, backbones: Backbones, scene: Scene) -> None:
    box = ",".join(str(value) for value in scene.boxes[0])
    report = predict(
        place, backbones, boxes=[box, "0,0,96,96"], points=["20,30.5"], masks=[place / "mask.png"]
    )
    assert [region.prompt for region in report.regions] == ["box", "box", "point", "mask"]
    assert report.regions[0].box == pytest.approx(scene.boxes[0])
    content = json.loads(report.json_file.read_text(encoding="utf-8"))
    assert report.json_file.name == "scène.regions.json"
    assert (content["height"], content["width"], content["classes"]) == (96, 96, list(NAMES))
    for region, written in zip(report.regions, content["regions"], strict=True):
        shares = [name["probability"] for name in written["names"]]
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) == pytest.approx(1, abs=1e-4)
        assert written["names"][0]["name"] == region.names[0][0]
        assert rle_codec.decode(written["mask"]).shape == (96, 96)


def test_without_a_prompt_sam_looks_by_itself(place: Path, backbones: Backbones) -> None:
    looking = {"points_per_side": 8}
    report = predict(place, backbones, propose=looking, top=1)
    assert {region.prompt for region in report.regions} == {"auto"}
    shares = [region.names[0][1] for region in report.regions]
    assert shares == sorted(shares, reverse=True)
    assert len(report.regions[0].names) == 1
    middle = shares[len(shares) // 2]
    fewer = predict(place, backbones, propose=looking, least=middle)
    assert len(fewer.regions) == sum(share >= middle for share in shares)
    assert fewer.left_out == len(shares) - len(fewer.regions)


def test_what_sam_finds_keeps_the_masks_it_was_found_by(
    recognizer: Recognizer, scene: Scene
) -> None:
    (encoded,) = recognizer.encode([scene.image])
    segmented = recognizer.segment_everything(encoded, ProposeConfig(points_per_side=8))
    (found,) = recognizer.classify([encoded], [segmented])
    again = recognizer.recognize(encoded, BoxPrompts(found.boxes))
    assert np.array_equal(found.logits, again.logits)
    assert len(found.masks) == len(again.masks) > 0
    assert found.predicted_iou.min() >= 0.5  # the tiny SAM's threshold
    for box, mask in zip(found.boxes, found.masks, strict=True):
        x, y, width, height = rle_codec.toBbox(mask)
        assert np.abs(box - [x, y, x + width, y + height]).max() <= 1


def test_what_sam_finds_is_outlined_once(
    recognizer: Recognizer, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tokens are those that making the masks of its boxes would give, without making them."""
    (encoded,) = recognizer.encode([scene.image])
    everything = ProposeConfig(points_per_side=12, iou_threshold=0, stability_threshold=0)
    with monkeypatch.context() as patch:
        patch.delattr(SamEncoder, "segment")
        found = recognizer.segment_everything(encoded, everything)
    outlined = recognizer.segment(encoded, BoxPrompts(found.boxes))
    assert len(found.boxes) > REGIONS_AT_ONCE
    assert torch.equal(found.tokens_RMS, outlined.tokens_RMS)


def test_nothing_that_sam_finds_is_named(recognizer: Recognizer, scene: Scene) -> None:
    (encoded,) = recognizer.encode([scene.image])
    nothing = ProposeConfig(points_per_side=1, iou_threshold=1)
    found = recognizer.segment_everything(encoded, nothing)
    assert (len(found.tokens_RMS), found.boxes.shape, found.masks) == (0, (0, 4), [])
    assert recognizer.classify([encoded], [found])[0].logits.shape == (0, len(NAMES))


def test_a_mask_may_be_a_jpeg(place: Path, backbones: Backbones, scene: Scene) -> None:
    Image.fromarray(scene.masks[0]).convert("L").save(place / "mask.jpg", quality=80)
    names = ("mask.png", "mask.jpg")
    exact, lossy = (predict(place, backbones, masks=[place / n]).regions[0] for n in names)
    assert np.abs(np.subtract(exact.box, lossy.box)).max() <= 1


def test_nothing_found_is_an_answer(place: Path, backbones: Backbones) -> None:
    report = predict(place, backbones, propose={"points_per_side": 1, "iou_threshold": 1})
    assert report.regions == ()
    assert json.loads(report.json_file.read_text())["regions"] == []
    with Image.open(report.picture_file) as picture:
        assert picture.size == (640, 640)


def test_the_picture_shows_the_regions(place: Path, backbones: Backbones) -> None:
    without = predict(place, backbones, propose={"points_per_side": 1, "iou_threshold": 1})
    before = np.asarray(Image.open(without.picture_file)).astype(int)
    report = predict(place, backbones, boxes=["20,30,60,80"], names="naïve 人")
    after = np.asarray(Image.open(report.picture_file)).astype(int)
    changed = np.abs(after - before).sum(axis=2) > 30
    scale = 640 / 96
    edge = changed[round(30 * scale) : round(80 * scale), round(20 * scale)]
    assert edge.mean() > 0.9
    assert not changed[round(85 * scale) :].any()  # far below the box and its label


def test_a_head_that_answers_nan_is_refused(
    recognizer: Recognizer, backbones: Backbones, head: FusionHead, scene: Scene
) -> None:
    broken = FusionHead(head.config)
    broken.projector.bias.data.fill_(float("nan"))
    bank = build_class_bank(backbones.image_text_encoder, Vocabulary.from_names(NAMES), SIMPLE)
    (encoded,) = recognizer.encode([scene.image])
    with pytest.raises(CheckpointError, match="logits are not finite"):
        Recognizer(backbones, broken, bank, device=CPU).recognize(encoded, BoxPrompts(scene.boxes))


def test_a_bank_serves_in_place_of_names(place: Path, backbones: Backbones) -> None:
    vocabulary = Vocabulary.from_names(NAMES)
    build_class_bank(backbones.image_text_encoder, vocabulary).save(place / "bank.h5")
    boxes = {"boxes": ["10,10,50,50"]}
    banked = predict(place, backbones, names=None, bank=place / "bank.h5", **boxes)
    assert banked.regions == predict(place, backbones, **boxes).regions


def black(place: Path) -> None:
    Image.new("L", (96, 96)).save(place / "mask.png")


def small(place: Path) -> None:
    Image.new("L", (50, 96), 255).save(place / "mask.png")


def nothing(place: Path) -> None:
    return


@pytest.mark.parametrize(
    ("spoil", "changes", "message"),
    [
        (nothing, {"boxes": ["1,2,3"]}, "--box '1,2,3': expected x1,y1,x2,y2"),
        (nothing, {"boxes": ["a,b,c,d"]}, "--box 'a,b,c,d': expected x1,y1,x2,y2"),
        (nothing, {"boxes": ["5,5,5,9"]}, "box 5,5,5,9: expected"),
        (nothing, {"boxes": ["0,0,97,9"]}, "0 ≤ x1 < x2 ≤ 96"),
        (nothing, {"boxes": ["nan,0,9,9"]}, "finite numbers"),
        (nothing, {"points": ["5"]}, "--point '5': expected x,y"),
        (nothing, {"points": ["5,100"]}, "point 5,100: expected x,y"),
        (nothing, {"masks": ["absent.png"]}, "absent.png: no such image file"),
        (black, {"masks": ["mask.png"]}, "got a black one"),
        (small, {"masks": ["mask.png"]}, "expected a picture of 96 × 96 pixels"),
        (nothing, {"max_pixels": 9215}, "96 × 96 pixels are more than --max-pixels 9,215; give a"),
        (nothing, {"names": None}, "one of --names A,B,C, --vocabulary or --bank"),
        (nothing, {"vocabulary": "x.txt"}, "one of --names A,B,C, --vocabulary or --bank"),
        (nothing, {"names": " , "}, "at least one class name"),
        (
            nothing,
            {"names": None, "bank": "mask.png"},
            "expected a class bank, the HDF5 file",
        ),
    ],
)
def test_a_mistake_is_one_sentence_and_writes_nothing(
    spoil: Callable[[Path], None],
    changes: dict[str, object],
    message: str,
    place: Path,
    backbones: Backbones,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(place)
    spoil(place)
    with pytest.raises((InputError, ImageError)) as caught:
        predict(place, backbones, **changes)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (place / "out").exists()


def test_models_come_from_the_head_unless_asked_for(place: Path, head: FusionHead) -> None:
    chosen = backbones_of_head(place / "head", {"device": "cpu"}, sam=None, clip="ViT-B-16")
    assert chosen == {"device": "cpu", "sam": "tiny", "sam_input": 96, "clip": "ViT-B-16"}
    given = {"sam_input": 192, "clip_input": None}
    chosen = backbones_of_head(place / "head", given, sam="tiny", clip=None)
    assert chosen == {"sam": "tiny", "sam_input": 192, "clip": "tiny", "clip_input": 96}


def test_an_imported_head_may_not_name_its_models(place: Path, head: FusionHead) -> None:
    imported = HeadRecord(head.config, {"region_encoder": {"name": "vit_b"}}, {"imported": {}})
    save_head(place / "imported", head, imported)
    chosen = backbones_of_head(place / "imported", {}, sam=None, clip="x")
    assert (chosen["sam"], chosen["clip"]) == ("vit_b", "x")
    with pytest.raises(InputError, match="does not say which models it was trained on; give --cl"):
        backbones_of_head(place / "imported", {}, sam=None, clip=None)
