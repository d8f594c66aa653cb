"""A written tiny world is a proper LVIS data set that keeps the promises of its split."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lvis import LVIS
from PIL import Image
from pycocotools import mask as coco_mask

from regionspot_core.errors import InputError
from regionspot_core.tiny.names import category_ids
from regionspot_core.tiny.world import World, train_split, val_split, write_world

TRAIN, VAL, SEED = 150, 80, 4


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return write_world(
        tmp_path_factory.mktemp("world"), train_scenes=TRAIN, val_scenes=VAL, seed=SEED
    )


@pytest.fixture(scope="module")
def train(world: World) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(world.train_annotations.read_text())
    return data


@pytest.fixture(scope="module")
def val(world: World) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(world.val_annotations.read_text())
    return data


def digest(folder: Path) -> str:
    whole = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        whole.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return whole.hexdigest()


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_world(tmp_path / name, train_scenes=6, val_scenes=3, seed=seed)
    assert digest(tmp_path / "a") == digest(tmp_path / "b") != digest(tmp_path / "c")
    assert not list(tmp_path.rglob("*.partial"))


def test_training_names_only_seen_classes(train: dict[str, Any]) -> None:
    seen = set(category_ids(["seen"]))
    assert {c["id"] for c in train["categories"]} == seen
    assert {a["category_id"] for a in train["annotations"]} <= seen
    assert {i for image in train["images"] for i in image["neg_category_ids"]} <= seen


def test_training_images_show_rare_objects_all_the_same() -> None:
    rare = set(category_ids(["unseen_composition", "unseen_colour"]))
    shown = np.concatenate([scene.class_ids for scene in train_split(TRAIN, SEED)])
    share = np.isin(shown, list(rare)).mean()
    assert 0.08 < share < 0.22


def test_validation_annotates_everything(val: dict[str, Any]) -> None:
    assert [c["id"] for c in val["categories"]] == list(range(1, 253))
    scenes = list(val_split(VAL, SEED))
    assert len(val["annotations"]) == sum(len(scene.class_ids) for scene in scenes)
    # 80 scenes deal the 252 classes about once.
    assert len({a["category_id"] for a in val["annotations"]}) > 240


def test_frequencies_follow_training(train: dict[str, Any], val: dict[str, Any]) -> None:
    kinds = {"r": {"unseen_composition", "unseen_colour"}, "c": {"seen"}, "f": {"seen"}}
    assert {c["frequency"] for c in val["categories"]} == {"r", "c", "f"}
    for category in val["categories"]:
        assert category["kind"] in kinds[category["frequency"]]
        counted = [a for a in train["annotations"] if a["category_id"] == category["id"]]
        assert category["instance_count"] == len(counted)
        assert category["image_count"] == len({a["image_id"] for a in counted})
        if category["kind"] == "seen":
            assert (category["frequency"] == "f") == (category["image_count"] >= 0.01 * TRAIN)


def test_negatives_are_absent_and_validation_lists_nearly_all(val: dict[str, Any]) -> None:
    present: dict[int, set[int]] = {image["id"]: set() for image in val["images"]}
    for annotation in val["annotations"]:
        present[annotation["image_id"]].add(annotation["category_id"])
    for image in val["images"]:
        negatives = image["neg_category_ids"]
        assert len(negatives) == len(set(negatives)) == 252 - len(present[image["id"]]) - 12
        assert not set(negatives) & present[image["id"]]
        assert set(image["not_exhaustive_category_ids"]) <= present[image["id"]]
    assert sum(bool(image["not_exhaustive_category_ids"]) for image in val["images"]) == VAL // 20


def test_training_negatives_are_absent_from_the_scenes(train: dict[str, Any]) -> None:
    for image, scene in zip(train["images"], train_split(TRAIN, SEED), strict=True):
        assert len(image["neg_category_ids"]) == 20
        assert not set(image["neg_category_ids"]) & set(scene.class_ids.tolist())


# pycocotools' compiled decoder predates NumPy 2's copy keyword.
@pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
)
def test_lvis_and_pycocotools_read_the_files(world: World) -> None:
    lvis = LVIS(str(world.val_annotations))
    scenes = list(val_split(VAL, SEED))
    assert len(lvis.get_img_ids()) == VAL
    for image_id, scene in zip(lvis.get_img_ids(), scenes, strict=True):
        info = lvis.load_imgs([image_id])[0]
        with Image.open(world.val_images / info["file_name"]) as image:
            np.testing.assert_array_equal(np.asarray(image), scene.image)
        annotations = lvis.load_anns(lvis.get_ann_ids(img_ids=[image_id]))
        assert [a["category_id"] for a in annotations] == scene.class_ids.tolist()
        for annotation, mask, box in zip(annotations, scene.masks, scene.boxes, strict=True):
            np.testing.assert_array_equal(lvis.ann_to_mask(annotation), mask)
            x, y, width, height = annotation["bbox"]
            assert [x, y, x + width, y + height] == box.tolist()
            assert annotation["area"] == mask.sum() == coco_mask.area(annotation["segmentation"])


def test_splits_never_share_an_image(world: World) -> None:
    train_images = {path.read_bytes() for path in world.train_images.glob("*.png")}
    val_images = {path.read_bytes() for path in world.val_images.glob("*.png")}
    assert len(train_images) == TRAIN
    assert len(val_images) == VAL
    assert not train_images & val_images


def test_a_split_of_no_scenes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least 1 scene"):
        write_world(tmp_path, train_scenes=0, val_scenes=1, seed=0)
