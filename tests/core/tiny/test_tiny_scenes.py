"""Scenes are deterministic and their boxes, masks and pixels agree."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regionspot_core.tiny.drawing import EXTENT, coverage
from regionspot_core.tiny.names import CLASSES, SHAPES
from regionspot_core.tiny.scenes import (
    IMAGE_SIZE,
    Scene,
    Stream,
    draw_class_ids,
    make_scene,
    scene_generator,
    tight_boxes,
)


def scene(seed: int = 0, stream: Stream = "val", index: int = 0) -> Scene:
    return make_scene(scene_generator(seed, stream, index))


def test_same_generator_same_scene() -> None:
    first, second = scene(3, "train", 7), scene(3, "train", 7)
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.masks, second.masks)
    np.testing.assert_array_equal(first.class_ids, second.class_ids)


def test_seeds_streams_and_indices_give_different_scenes() -> None:
    streams: tuple[Stream, ...] = ("pretraining", "train", "val")
    images = [
        scene(seed, stream, index).image
        for seed in (0, 1)
        for stream in streams
        for index in (0, 1)
    ]
    assert len({image.tobytes() for image in images}) == len(images)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_a_scene_is_consistent(seed: int) -> None:
    made = scene(seed)
    count = len(made.class_ids)
    assert 1 <= count <= 5
    assert made.image.shape == (IMAGE_SIZE, IMAGE_SIZE, 3)
    assert made.image.dtype == np.uint8
    assert made.masks.shape == (count, IMAGE_SIZE, IMAGE_SIZE)
    assert made.masks.dtype == np.bool_
    assert made.boxes.shape == (count, 4)
    assert made.boxes.dtype == np.float32
    assert made.class_ids.dtype == np.int64
    assert made.masks.sum(axis=0).max() <= 1, "visible masks overlap"
    for mask, (x1, y1, x2, y2) in zip(made.masks, made.boxes.astype(int), strict=True):
        ys, xs = np.nonzero(mask)
        assert (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) == (x1, y1, x2, y2)
        assert mask.sum() >= 60, "an object is hardly visible"


def test_class_ids_come_in_drawing_order() -> None:
    wanted = [5, 17, 5]
    made = make_scene(scene_generator(1, "val", 0), wanted)
    assert made.class_ids.tolist() == wanted


def test_a_scene_may_be_empty() -> None:
    made = make_scene(scene_generator(0, "val", 0), [])
    assert made.boxes.shape == (0, 4)
    assert made.masks.shape == (0, IMAGE_SIZE, IMAGE_SIZE)


def test_tight_boxes_of_one_pixel_and_of_everything() -> None:
    masks = np.zeros((2, 6, 8), bool)
    masks[0, 2, 3] = True
    masks[1] = True
    assert tight_boxes(masks).tolist() == [[3, 2, 4, 3], [0, 0, 8, 6]]


def test_weights_decide_the_classes() -> None:
    weights = np.zeros(len(CLASSES))
    weights[41] = 1
    assert draw_class_ids(np.random.default_rng(0), 4, weights) == [42] * 4


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("radius", [11.0, 21.0])
def test_shapes_stay_within_their_extent(shape: str, radius: float) -> None:
    axis = np.arange(-40, 41, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)
    inside = coverage(shape, x, y, radius) > 0
    assert np.hypot(x, y)[inside].max() <= EXTENT * radius + 1
    assert (coverage(shape, x, y, radius) >= 0.5).sum() > 0.25 * np.pi * radius**2
