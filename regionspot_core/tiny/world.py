"""Writes the tiny world to disk as an LVIS v1 data set.

Training images hold objects of all 252 classes, but only the 180 seen ones are annotated, and
`train.json` lists only those: a rare name can be neither a label nor a negative of training.
`val.json` lists and annotates all classes.

How the LVIS fields are filled:

- `frequency`: from the training annotations, 'r' for classes that are never labelled, 'f' for those
  in at least `FREQUENT_SHARE` of the training images, 'c' for the other seen ones (even where a
  very small world happens to hold none). `image_count` and `instance_count` are those of training
  in both files, as in LVIS.
- `neg_category_ids`: LVIS ignores detections of a class that is neither annotated nor listed
  negative in an image, so a short list would hide false positives. Validation lists every absent
  class but `UNVERIFIED_CLASSES` random ones, which keep the federated rule in play; training lists
  `TRAIN_NEGATIVES` random absent seen classes.
- `not_exhaustive_category_ids`: in every `NOT_EXHAUSTIVE_EVERY`-th validation image one class that
  is present. Its objects are all annotated none the less; the flag only makes scorers forgive extra
  detections.
- `kind`, our own key of a category: "seen", "unseen_composition" or "unseen_colour".
"""

import json
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_mask

from regionspot_core.errors import InputError
from regionspot_core.tiny.names import CLASSES, TinyClass, category_ids
from regionspot_core.tiny.scenes import (
    IMAGE_SIZE,
    Scene,
    Stream,
    draw_class_ids,
    make_scene,
    scene_generator,
)

FREQUENT_SHARE = 0.01
TRAIN_NEGATIVES = 20
UNVERIFIED_CLASSES = 12
NOT_EXHAUSTIVE_EVERY = 20
UNLABELLED_SHARE = 0.15
"""Share of the objects in training images: the rare classes together."""
TAIL_EXPONENT = 0.6
TAIL_OFFSET = 5
"""The seen class of rank i (from 0) is drawn with weight (i + TAIL_OFFSET) ** -TAIL_EXPONENT: the
most common class about nine times as often as the last."""

Split = Literal["train", "val"]
Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class World:
    """Files of a written world. `file_name` is relative to the split's image folder."""

    folder: Path
    train_images: Path
    train_annotations: Path
    val_images: Path
    val_annotations: Path


def write_world(folder: Path, *, train_scenes: int, val_scenes: int, seed: int) -> World:
    """Write both splits below `folder`, about 3 ms a scene; the same arguments give the same bytes.

    Annotations are written after all images of their split, aside and then renamed: a split whose
    JSON file exists is whole. Existing files are overwritten.

    Raises:
        InputError: If a scene count is below 1.
    """
    if min(train_scenes, val_scenes) < 1:
        raise InputError(
            f"a world needs at least 1 scene a split, got {train_scenes} train and {val_scenes} val"
        )
    world = World(
        folder=folder,
        train_images=folder / "train",
        train_annotations=folder / "train.json",
        val_images=folder / "val",
        val_annotations=folder / "val.json",
    )
    for old in (world.train_annotations, world.val_annotations):
        old.unlink(missing_ok=True)
    train = _annotate(
        _written(train_split(train_scenes, seed), world.train_images),
        labelled=category_ids(["seen"]),
    )
    val = _annotate(
        _written(val_split(val_scenes, seed), world.val_images),
        labelled=[c.category_id for c in CLASSES],
    )
    _add_negatives(train, seed, "train", count=TRAIN_NEGATIVES)
    _add_negatives(val, seed, "val", count=None)
    _flag_not_exhaustive(val)
    categories = _categories(train)
    train["categories"] = [category for category in categories if category["kind"] == "seen"]
    val["categories"] = categories
    _write_json(world.train_annotations, train)
    _write_json(world.val_annotations, val)
    return world


def train_split(count: int, seed: int) -> Iterator[Scene]:
    """Return training scenes of 2 to 5 objects, rare classes included (and not to be labelled)."""
    weights = _training_weights()
    for index in range(count):
        rng = scene_generator(seed, "train", index)
        yield make_scene(rng, draw_class_ids(rng, int(rng.integers(2, 6)), weights))


def val_split(count: int, seed: int) -> Iterator[Scene]:
    """Return validation scenes of 2 to 5 objects.

    Classes are dealt like cards, so that each comes up equally often: about 8 times in 600 scenes.
    """
    dealer = _generator(seed, "val", "deal")
    deck: list[int] = []
    for index in range(count):
        rng = scene_generator(seed, "val", index)
        wanted = int(rng.integers(2, 6))
        if len(deck) < wanted:
            deck += [1 + int(i) for i in dealer.permutation(len(CLASSES))]
        yield make_scene(rng, [deck.pop(0) for _ in range(wanted)])


def _training_weights() -> NDArray[np.float64]:
    """Return training weights [252]: a long tail over the labelled classes, level over the rare."""
    weights = np.zeros(len(CLASSES))
    seen = np.array(category_ids(["seen"])) - 1
    rare = np.array(category_ids(["unseen_composition", "unseen_colour"])) - 1
    # The order of the tail is part of the world, not of a seed: worlds of all seeds agree on it.
    ranked = np.random.default_rng(0).permutation(seen)
    tail = (np.arange(len(seen)) + TAIL_OFFSET) ** -TAIL_EXPONENT
    weights[ranked] = (1 - UNLABELLED_SHARE) * tail / tail.sum()
    weights[rare] = UNLABELLED_SHARE / len(rare)
    return weights


def _written(scenes: Iterable[Scene], folder: Path) -> Iterator[tuple[str, Scene]]:
    """Pass the scenes on with the names of the PNG files they were written to."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, scene in enumerate(scenes):
        name = f"{index + 1:06d}.png"
        Image.fromarray(scene.image).save(folder / name, compress_level=1)
        yield name, scene


def _annotate(scenes: Iterable[tuple[str, Scene]], labelled: Sequence[int]) -> Json:
    """Return images and annotations in LVIS layout, of objects of the `labelled` classes."""
    kept = frozenset(labelled)
    images: list[Json] = []
    annotations: list[Json] = []
    for image_id, (name, scene) in enumerate(scenes, start=1):
        present = sorted(set(scene.class_ids.tolist()))
        images.append(
            {
                "id": image_id,
                "file_name": name,
                "width": IMAGE_SIZE,
                "height": IMAGE_SIZE,
                "neg_category_ids": [i for i in labelled if i not in present],
                "not_exhaustive_category_ids": [],
            }
        )
        for box, mask, category_id in zip(
            scene.boxes, scene.masks, scene.class_ids.tolist(), strict=True
        ):
            if category_id in kept:
                annotation = _annotation(box, mask)
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": image_id,
                        "category_id": category_id,
                        **annotation,
                    }
                )
    info = {"description": "RegionSpot tiny world", "version": "1"}
    return {"info": info, "licenses": [], "images": images, "annotations": annotations}


def _annotation(box: NDArray[np.float32], mask: NDArray[np.bool_]) -> Json:
    x1, y1, x2, y2 = box.tolist()
    encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": float(mask.sum()),
        "segmentation": {
            "size": [IMAGE_SIZE, IMAGE_SIZE],
            "counts": encoded["counts"].decode("ascii"),
        },
    }


def _add_negatives(data: Json, seed: int, split: Split, *, count: int | None) -> None:
    """Thin the lists of absent classes to `count` random ones; None: by `UNVERIFIED_CLASSES`."""
    rng = _generator(seed, split, "negatives")
    for image in data["images"]:
        absent = image["neg_category_ids"]
        kept = len(absent) - UNVERIFIED_CLASSES if count is None else count
        image["neg_category_ids"] = sorted(rng.choice(absent, size=kept, replace=False).tolist())


def _flag_not_exhaustive(data: Json) -> None:
    first_class: dict[int, int] = {}
    for annotation in data["annotations"]:
        first_class.setdefault(annotation["image_id"], annotation["category_id"])
    for image in data["images"][NOT_EXHAUSTIVE_EVERY - 1 :: NOT_EXHAUSTIVE_EVERY]:
        image["not_exhaustive_category_ids"] = [first_class[image["id"]]]


def _categories(train: Json) -> list[Json]:
    """Return all 252 categories in LVIS layout, counted on the training annotations."""
    instances = Counter(annotation["category_id"] for annotation in train["annotations"])
    in_images = {
        (annotation["image_id"], annotation["category_id"]) for annotation in train["annotations"]
    }
    images = Counter(category_id for _, category_id in in_images)
    frequent_from = FREQUENT_SHARE * len(train["images"])
    return [
        _category(
            tiny_class,
            images[tiny_class.category_id],
            instances[tiny_class.category_id],
            frequent_from,
        )
        for tiny_class in CLASSES
    ]


def _category(tiny_class: TinyClass, images: int, instances: int, frequent_from: float) -> Json:
    seen_frequency = "f" if images >= frequent_from else "c"
    return {
        "id": tiny_class.category_id,
        "name": tiny_class.name,
        "synonyms": [tiny_class.name],
        "synset": f"{tiny_class.name.replace(' ', '_')}.n.01",
        "def": f"a {tiny_class.shape}, {tiny_class.texture} {tiny_class.colour}",
        "frequency": seen_frequency if tiny_class.kind == "seen" else "r",
        "image_count": images,
        "instance_count": instances,
        "kind": tiny_class.kind,
    }


def _write_json(path: Path, data: Json) -> None:
    aside = path.with_suffix(".json.partial")
    aside.write_text(json.dumps(data, separators=(",", ":")))
    aside.replace(path)


def _generator(seed: int, stream: Stream, purpose: str) -> np.random.Generator:
    """Return a generator for use outside scenes: its four seed words are never a scene's three."""
    return np.random.default_rng(
        [seed, {"train": 1, "val": 2}[stream], 0, zlib.crc32(purpose.encode())]
    )
