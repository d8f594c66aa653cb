"""`import regionspot as rs`: what README shows, on the tiny models."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import regionspot as rs
from regionspot_core.backbones.config import ProposeConfig
from regionspot_core.backbones.loading import Backbones
from regionspot_core.errors import InputError
from regionspot_core.tiny.world import write_world
from regionspot_evaluate.config import PredictConfig
from regionspot_evaluate.predict import run_prediction

NAMES = ["solid lime square", "striped teal circle", "dotted red star"]
BOXES = [[4, 6, 30, 40], [20, 20, 60, 60]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, bank: Path) -> Path:
    """A small world, taken through extraction and training by the functions of the face."""
    place = tmp_path_factory.mktemp("face")
    write_world(place / "world", train_scenes=8, val_scenes=4, seed=0)
    extracted = rs.extract(
        {
            "images": place / "world" / "train",
            "annotations": place / "world" / "train.json",
            "out": place / "store.zarr",
            "bank": bank,
            "backbones": {"device": "cpu"},
        }
    )
    assert extracted.images == 8
    trained = rs.train(
        {"steps": 3, "batch_images": 4, "device": "cpu", "head": {"layers": 1, "ffn_width": 8}},
        cache=place / "store.zarr",
        out=place / "run",
    )
    assert trained.steps == 3
    return place


@pytest.fixture(scope="module")
def recognizer(place: Path, backbones: Backbones) -> rs.Recognizer:
    return rs.Recognizer.load(place / "run", names=NAMES, device="cpu", backbones=backbones)


@pytest.fixture(scope="module")
def photo(place: Path) -> Path:
    return sorted((place / "world" / "val").glob("*.png"))[0]


def test_the_import_is_light_and_shows_its_names() -> None:
    program = (
        "import sys, json, regionspot as rs\n"
        "light = 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
        "print(json.dumps([light, sorted(set(rs.__all__) - set(dir(rs)))]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert json.loads(done.stdout) == [True, []]
    assert all(getattr(rs, name) is not None for name in rs.__all__)
    with pytest.raises(AttributeError, match="module 'regionspot' has no attribute 'nonsense'"):
        rs.nonsense  # noqa: B018


def test_a_store_and_a_head_open(place: Path) -> None:
    assert len(rs.FeatureCache(place / "store.zarr")) == 8
    assert isinstance(rs.load_head(place / "run"), torch.nn.Module)


def test_the_same_answers_as_the_command(
    place: Path, photo: Path, recognizer: rs.Recognizer, backbones: Backbones
) -> None:
    result = recognizer(photo, boxes=BOXES)
    config = PredictConfig(
        pictures=(photo,), head=place / "run", out=place / "predicted", names=",".join(NAMES),
        boxes=tuple(",".join(map(str, box)) for box in BOXES), backbones={"device": "cpu"},
    )  # fmt: skip
    expected = run_prediction(config, backbones=backbones)
    assert [tuple(each) for each in result.top(3)] == [r.names for r in expected.regions]
    assert result.boxes.tolist() == [list(region.box) for region in expected.regions]
    assert list(result.encoded_masks) == [region.mask for region in expected.regions]


def test_many_pictures_are_named_as_one_by_one(photo: Path, recognizer: rs.Recognizer) -> None:
    pixels = np.asarray(Image.open(photo).convert("RGB"))
    pictures = [photo, pixels[:40], Image.fromarray(pixels[:, :50])]
    everything = ProposeConfig(points_per_side=6)
    results = recognizer.many(iter(pictures), propose=everything, batch=2)
    for result, picture in zip(results, pictures, strict=True):
        alone = recognizer(picture, propose=everything)
        assert (result.size, result.encoded_masks) == (alone.size, alone.encoded_masks)
        np.testing.assert_allclose(result.probabilities, alone.probabilities, atol=1e-4)
    (whole,) = recognizer.many([pixels[:40]], whole=True)
    assert whole.boxes.tolist() == [[0, 0, pixels.shape[1], 40]]
    with pytest.raises(rs.RegionSpotError, match="no such image file"):
        list(recognizer.many([photo, "absent.png"], whole=True))


def test_a_result_in_other_forms(photo: Path, recognizer: rs.Recognizer) -> None:
    result = recognizer(str(photo), boxes=BOXES)
    height, width = np.asarray(Image.open(photo)).shape[:2]
    assert len(result) == 2
    assert result.masks.shape == (2, height, width)
    (name, probability), (_, second) = result.top(2)[0]
    assert name in NAMES
    assert 1 >= probability >= second > 0
    assert result.probabilities.sum(axis=1) == pytest.approx([1, 1], abs=1e-5)
    first, _ = result.to_coco(image_id=7)
    assert first["image_id"] == 7
    assert first["category_id"] == NAMES.index(name) + 1
    assert first["bbox"] == [4, 6, 26, 34]
    assert first["score"] == probability
    json.dumps(first)
    detections = result.to_supervision()
    assert detections.xyxy.tolist() == BOXES
    assert detections.data["class_name"][0] == name
    assert detections.confidence is not None
    assert detections.confidence[0] == pytest.approx(probability)
    assert np.array_equal(detections.mask, result.masks)


def test_pictures_in_memory_and_other_prompts(photo: Path, recognizer: rs.Recognizer) -> None:
    with Image.open(photo) as opened:
        picture = opened.convert("RGB")
    from_file = recognizer(photo, boxes=BOXES)
    for each in (picture, np.asarray(picture)):
        assert np.array_equal(recognizer(each, boxes=BOXES).probabilities, from_file.probabilities)
    assert len(recognizer(picture, points=[[12, 12]])) == 1
    assert len(recognizer(picture, masks=from_file.masks[:1] | (np.indices(from_file.size)[0] < 9)))
    everything = recognizer(picture)
    assert len(everything) == len(everything.masks) == len(everything.to_coco())
    assert len(recognizer.with_names(["a", "b"])(picture, boxes=BOXES).top(9)[0]) == 2


def test_what_is_wrong_is_said(photo: Path, place: Path, recognizer: rs.Recognizer) -> None:
    with pytest.raises(InputError, match="class names as one of"):
        rs.Recognizer.load(place / "run")
    with pytest.raises(InputError, match="list of different class names"):
        recognizer.with_names(["a", "a"])
    with pytest.raises(InputError, match="got several"):
        recognizer(photo, boxes=BOXES, points=[[1, 1]])
    with pytest.raises(InputError, match="0 ≤ x1 < x2"):
        recognizer(photo, boxes=[[5, 5, 4, 9]])
    with pytest.raises(InputError, match=r"expected RGB pixels .* got \(4, 4\) float64"):
        recognizer(np.zeros((4, 4)))
    assert isinstance(InputError("x"), rs.RegionSpotError)


def test_an_evaluation_takes_the_models_of_the_head(place: Path) -> None:
    report = rs.evaluate(
        {
            "images": place / "world" / "val",
            "annotations": place / "world" / "val.json",
            "heads": [place / "run"],
            "out": place / "results",
            "baseline": (),
            "gallery": 0,
            "backbones": {"device": "cpu"},
        }
    )
    assert report.to_json()
