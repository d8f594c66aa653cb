"""Boxes: layouts, areas and overlaps, against hand-counted pixels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regionspot_core.imaging.boxes import (
    box_area,
    box_iou,
    clip_to_image,
    has_negative_side,
    jitter,
    mirror,
    without_negative_sides,
    xywh_to_xyxy,
    xyxy_to_xywh,
)

EMPTY = np.zeros((0, 4))
pixels = st.integers(-30, 30)
whole_boxes = st.lists(st.tuples(pixels, pixels, pixels, pixels), max_size=6)


@pytest.mark.parametrize(
    ("xywh", "xyxy"),
    [
        (EMPTY, EMPTY),
        ([0, 0, 0, 0], [0, 0, 0, 0]),
        ([[1, 2, 3, 4]], [[1, 2, 4, 6]]),
        ([[-1.5, 2.25, 3, 0.5]], [[-1.5, 2.25, 1.5, 2.75]]),
        ([[[0, 0, 1, 1], [5, 6, 7, 8]]], [[[0, 0, 1, 1], [5, 6, 12, 14]]]),
    ],
)
def test_corners_and_sides_say_the_same_box(xywh: object, xyxy: object) -> None:
    assert np.array_equal(xywh_to_xyxy(xywh), xyxy)
    assert np.array_equal(xyxy_to_xywh(xyxy), xywh)


def test_integer_boxes_do_not_wrap_around() -> None:
    assert xywh_to_xyxy(np.array([[200, 200, 200, 200]], dtype=np.uint8)).tolist() == [
        [200, 200, 400, 400]
    ]
    assert xyxy_to_xywh(np.array([[9, 9, 3, 3]], dtype=np.uint8)).tolist() == [[9, 9, -6, -6]]


@pytest.mark.parametrize(
    ("box", "negative"),
    [
        ([0, 0, 0, 0], False),
        ([5, 5, -1, 2], True),
        ([5, 5, 2, -1e-3], True),
        ([0, 0, -1e-7, 2], False),  # 0.3 - 0.1 - 0.2, say
        ([5000, 0, -5e-4, 2], False),  # a float32's step at 5000 pixels
        ([5000, 0, -0.1, 2], True),
    ],
)
def test_a_side_below_zero_may_be_rounding(box: list[float], negative: bool) -> None:
    assert has_negative_side([box, [1, 1, 1, 1]]).tolist() == [negative, False]
    if not negative:
        assert without_negative_sides([box]).min() >= 0


@pytest.mark.parametrize(
    ("box", "clipped"),
    [
        (EMPTY, EMPTY),
        ([2, 3, 4, 5], [2, 3, 4, 5]),
        ([0, 0, 20, 10], [0, 0, 20, 10]),
        ([-5, -5, 25, 15], [0, 0, 20, 10]),
        ([18, 8, 30, 30], [18, 8, 20, 10]),
        ([25, 2, 30, 5], [20, 2, 20, 5]),  # outside to the right: empty
        ([-9, -9, -1, -1], [0, 0, 0, 0]),  # outside above left: empty
    ],
)
def test_boxes_are_clamped_to_the_image(box: object, clipped: object) -> None:
    assert np.array_equal(clip_to_image(box, height=10, width=20), clipped)


@pytest.mark.parametrize(
    ("boxes", "areas"),
    [
        (EMPTY, []),
        ([[1, 1, 1, 9]], [0]),
        ([[0, 0, 3, 2], [1.5, 0, 2, 4]], [6, 2]),
        ([[5, 5, 3, 3]], [0]),  # both sides inverted: their product would be positive
        ([[5, 0, 3, 2]], [0]),
    ],
)
def test_areas(boxes: object, areas: list[float]) -> None:
    assert box_area(boxes).tolist() == areas


@pytest.mark.parametrize(
    ("a", "b", "iou"),
    [
        (EMPTY, [[0, 0, 1, 1]], np.zeros((0, 1))),
        ([[0, 0, 1, 1]], EMPTY, np.zeros((1, 0))),
        ([[0, 0, 2, 2]], [[0, 0, 2, 2]], [[1]]),
        ([[0, 0, 2, 2]], [[1, 1, 3, 3]], [[1 / 7]]),
        ([[0, 0, 2, 2]], [[2, 0, 4, 2]], [[0]]),  # far edges are exclusive: they only touch
        ([[0, 0, 2, 2]], [[5, 5, 6, 6]], [[0]]),  # apart on both axes
        ([[3, 3, 3, 3]], [[3, 3, 3, 3]], [[0]]),
        ([[0, 0, 4, 1]], [[0, 0, 1, 4], [0, 0, 4, 2]], [[1 / 7, 0.5]]),
    ],
)
def test_overlaps(a: object, b: object, iou: object) -> None:
    assert box_iou(a, b).shape == np.shape(iou)
    assert np.allclose(box_iou(a, b), iou, rtol=1e-15)


@given(whole_boxes, whole_boxes)
def test_overlap_is_the_share_of_pixels(a: list[tuple[int, ...]], b: list[tuple[int, ...]]) -> None:
    def covered(box: tuple[int, ...]) -> set[tuple[int, int]]:
        x1, y1, x2, y2 = box
        return {(x, y) for x in range(x1, x2) for y in range(y1, y2)}

    ious = box_iou(np.array(a).reshape(-1, 4), np.array(b).reshape(-1, 4))
    assert ious.shape == (len(a), len(b))
    for i, first in enumerate(map(covered, a)):
        for j, second in enumerate(map(covered, b)):
            union = len(first | second)
            assert ious[i, j] == pytest.approx(len(first & second) / union if union else 0)


@given(st.lists(st.tuples(*[st.integers(-(2**40), 2**40)] * 4), max_size=5))
def test_layouts_round_trip(boxes: list[tuple[int, ...]]) -> None:
    xyxy = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    assert np.array_equal(xywh_to_xyxy(xyxy_to_xywh(xyxy)), xyxy)


def test_mirrored_boxes() -> None:
    assert mirror([[1, 2, 4, 6]], 10).tolist() == [[6, 2, 9, 6]]
    assert mirror([[1, 2, 4, 6], [0, 0, 5, 5]], [10, 5]).tolist() == [[6, 2, 9, 6], [0, 0, 5, 5]]


@given(st.lists(st.tuples(*[st.integers(0, 30)] * 4), max_size=4), st.integers(0, 60))
def test_mirroring_twice_changes_nothing(boxes: list[tuple[int, ...]], width: int) -> None:
    xyxy = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    assert np.array_equal(mirror(mirror(xyxy, width), width), xyxy)


@given(st.integers(0, 2**32), st.integers(0, 4))
def test_jittered_boxes_stay_near_and_inside(seed: int, copies: int) -> None:
    boxes = np.array([[40, 40, 60, 80], [0, 0, 100, 100], [10, 20, 10.5, 20.5]])
    noisy = jitter(boxes, copies, height=100, width=100, rng=np.random.default_rng(seed))
    assert noisy.shape == (3, copies, 4)
    assert (noisy >= 0).all()
    assert (noisy <= 100).all()
    for box, near in zip(boxes, noisy, strict=True):
        # 0.8 × 0.8: both sides a fifth shorter. A box at the border is cut to the image.
        assert (box_iou([box], near) >= 0.64 - 1e-9).all()
    inner, copied = boxes[[0, 2], None], noisy[[0, 2]]
    moved = (copied[..., :2] + copied[..., 2:] - inner[..., :2] - inner[..., 2:]) / 2
    assert (np.abs(moved) <= 0.1 * (inner[..., 2:] - inner[..., :2]) + 1e-9).all()
