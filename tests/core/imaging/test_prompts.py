"""Prompts: what an image's pixels allow, and one sentence about what they do not."""

import numpy as np
import pytest
from numpy.typing import ArrayLike

from regionspot_core.errors import InputError
from regionspot_core.imaging.prompts import BoxPrompts, MaskPrompts, PointPrompts

SIZE = (30, 40)
"""Height and width."""


def test_boxes_may_touch_the_border() -> None:
    boxes = [[0, 0, 40, 30], [0.5, 1, 0.75, 2]]
    assert BoxPrompts.create(boxes, SIZE).boxes.tolist() == boxes
    assert len(BoxPrompts.create([], SIZE)) == 0


def test_rounding_beyond_the_border_is_cut() -> None:
    boxes = BoxPrompts.create([[-1e-6, 0, 40.00001, 30]], SIZE).boxes
    assert boxes.tolist() == [[0, 0, 40, 30]]
    points = PointPrompts.create([[40.00001, -1e-6]], SIZE).points
    assert points.tolist() == [[[40, 0]]]


@pytest.mark.parametrize(
    "box",
    [
        [5, 5, 5, 9], [9, 5, 5, 9], [5, 9, 9, 9], [5, 9, 9, 5], [-1, 0, 5, 5], [0, -0.1, 5, 5],
        [0, 0, 40.1, 5], [0, 0, 30, 40],
    ],
)  # fmt: skip
def test_a_box_that_is_none_is_refused(box: list[float]) -> None:
    with pytest.raises(InputError, match="expected x1,y1,x2,y2 with 0 ≤ x1 < x2 ≤ 40 and 0 ≤ y1"):
        BoxPrompts.create([[1, 1, 2, 2], box], SIZE)


@pytest.mark.parametrize(
    "boxes", [[1, 2, 3, 4], [[1, 2, 3]], [[[1, 2, 3, 4]]], [[1, 2, 3, np.nan]]]
)
def test_boxes_of_another_shape_are_refused(boxes: ArrayLike) -> None:
    with pytest.raises(InputError, match=r"expected boxes as finite numbers \(N, 4\)"):
        BoxPrompts.create(boxes, SIZE)


def test_ragged_lists_are_refused() -> None:
    with pytest.raises(InputError, match="expected boxes as numbers"):
        BoxPrompts.create([[1, 2, 3, 4], [1, 2]], SIZE)
    with pytest.raises(InputError, match="expected points as numbers"):
        PointPrompts.create([[[1, 2]], [[1, 2], [3, 4]]], SIZE)


def test_points_alone_and_in_groups() -> None:
    alone = PointPrompts.create([[1, 2], [40, 30]], SIZE)
    assert alone.points.tolist() == [[[1, 2]], [[40, 30]]]
    assert alone.inside.tolist() == [[True], [True]]
    group = PointPrompts.create([[[1, 2], [3, 4]]], SIZE, inside=[[1, 0]])
    assert len(group) == 1
    assert group.inside.tolist() == [[True, False]]
    assert len(PointPrompts.create([], SIZE)) == 0


def test_points_that_are_none_are_refused() -> None:
    for point in ([40.5, 1], [1, 30.5], [-1, 1]):
        with pytest.raises(InputError, match="expected x,y with 0 ≤ x ≤ 40 and 0 ≤ y ≤ 30"):
            PointPrompts.create([point], SIZE)
    with pytest.raises(InputError, match=r"expected points as finite numbers \(N, P, 2\)"):
        PointPrompts.create([[1, 2, 3]], SIZE)
    for inside in ([[0]], [[1, 1]], [1]):
        with pytest.raises(InputError, match="whether it is inside"):
            PointPrompts.create([[1, 2]], SIZE, inside=inside)


def test_boxes_around_masks_have_their_far_edge_outside() -> None:
    masks = np.zeros((2, *SIZE), dtype=np.uint8)
    masks[0, 3, 7] = 255
    masks[1, 10:20, 5:40] = 1
    prompts = MaskPrompts.create(masks, SIZE)
    assert prompts.masks.dtype == bool
    assert prompts.boxes.tolist() == [[7, 3, 8, 4], [5, 10, 40, 20]]


def test_masks_that_are_none_are_refused() -> None:
    with pytest.raises(InputError, match="at least one pixel each"):
        MaskPrompts.create(np.zeros((1, *SIZE)), SIZE)
    for shape in ((30, 40), (1, 40, 30)):
        with pytest.raises(InputError, match=r"expected masks \(N, 30, 40\)"):
            MaskPrompts.create(np.ones(shape), SIZE)
