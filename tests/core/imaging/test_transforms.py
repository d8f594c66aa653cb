"""The two resizes: published sizes and pixels for SAM, and boxes that travel with the image."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from segment_anything.utils.transforms import ResizeLongestSide

from regionspot_core.imaging.transforms import Resize, ResizeLongSide, ResizeSquare, Size

side = st.integers(1, 1500)
length = st.integers(1, 6000)
sizes = st.one_of(
    st.tuples(length, length),
    st.tuples(st.just(1), length),  # one pixel high
    st.tuples(length, st.just(1)),
)
resizes = st.one_of(st.builds(ResizeLongSide, side), st.builds(ResizeSquare, side))
unit = st.floats(0, 1, allow_subnormal=False)


@pytest.mark.parametrize(
    ("side", "size", "target"),
    [
        (1024, (1, 1), (1024, 1024)),
        (1024, (480, 640), (768, 1024)),
        (1024, (640, 480), (1024, 768)),
        (1024, (1024, 1024), (1024, 1024)),
        (1024, (427, 640), (683, 1024)),  # 683.2
        (4, (3, 8), (2, 4)),  # 1.5 rounds up
        (4, (5, 8), (3, 4)),  # and so does 2.5: half up, not half to even
        (1024, (1, 5000), (1, 1024)),  # 0.2 of a pixel is still one row
    ],
)
def test_sam_fits_the_long_side(side: int, size: Size, target: Size) -> None:
    assert ResizeLongSide(side).target_size(size) == target


@given(side, sizes)
def test_sam_sizes_are_segment_anythings(side: int, size: Size) -> None:
    published = ResizeLongestSide.get_preprocess_shape(*size, side)
    assert ResizeLongSide(side).target_size(size) == tuple(max(1, length) for length in published)


@pytest.mark.parametrize("size", [(1, 1), (37, 64), (64, 37), (3, 90), (128, 128), (300, 200)])
def test_sam_pixels_are_segment_anythings(size: Size) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    ours = ResizeLongSide(128).image(image)
    assert ours.dtype == np.uint8
    assert np.array_equal(ours, ResizeLongestSide(128).apply_image(image))


@given(side, st.tuples(st.integers(1, 3000), st.integers(1, 3000)))
def test_sam_boxes_are_segment_anythings(side: int, size: Size) -> None:
    height, width = size
    boxes = np.array([[0, 0, width, height], [width / 3, height / 7, width / 2, height / 5]])
    published = ResizeLongestSide(side)
    if 0 in published.get_preprocess_shape(height, width, side):
        return  # it loses the image there; we keep a row of pixels
    ours = ResizeLongSide(side).boxes(boxes, size)
    assert np.allclose(ours, published.apply_boxes(boxes, size), rtol=1e-12)


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (300, 7), (24, 24)])
def test_clip_squashes_the_whole_image(size: Size) -> None:
    image = np.zeros((*size, 3), dtype=np.uint8)
    image[-1:, -1:] = 255  # a corner that a crop of a wide or tall image would lose
    resized = ResizeSquare(24).image(image)
    assert resized.shape == (24, 24, 3)
    assert resized[-1, -1].min() > 0
    assert size == (1, 1) or resized[0, 0].max() == 0


def test_an_image_that_fits_is_not_touched() -> None:
    image = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    assert np.array_equal(ResizeSquare(24).image(image), image)
    assert np.array_equal(ResizeLongSide(24).image(image), image)


@pytest.mark.parametrize(
    ("resize", "size", "box", "moved"),
    [
        (ResizeSquare(10), (20, 40), np.zeros((0, 4)), np.zeros((0, 4))),
        (ResizeSquare(10), (20, 40), [[4, 4, 40, 20]], [[1, 2, 10, 10]]),
        (ResizeLongSide(10), (20, 40), [[4, 4, 40, 20]], [[1, 1, 10, 5]]),
        # 3 / 8 · 4 is 1.5, rounded to 2 rows: y is scaled by 2 / 3, not by 4 / 8
        (ResizeLongSide(4), (3, 8), [[2, 1.5, 8, 3]], [[1, 1, 4, 2]]),
    ],
)
def test_boxes_move_with_the_pixels(resize: Resize, size: Size, box: object, moved: object) -> None:
    assert np.allclose(resize.boxes(box, size), moved, rtol=1e-15)
    assert np.allclose(resize.boxes_back(moved, size), box, rtol=1e-15)


@given(resizes, sizes, st.tuples(unit, unit, unit, unit))
def test_boxes_come_back(resize: Resize, size: Size, shares: tuple[float, ...]) -> None:
    height, width = size
    extent = np.array([width, height, width, height])
    box = np.array([shares]) * extent
    there = resize.boxes(box, size)
    target_height, target_width = resize.target_size(size)
    inside = np.array([target_width, target_height, target_width, target_height])
    assert (there >= 0).all()
    assert (there <= inside * (1 + 1e-12)).all()
    assert np.allclose(resize.boxes_back(there, size), box, rtol=1e-12, atol=0)


@given(resizes, sizes)
def test_the_whole_image_stays_the_whole_image(resize: Resize, size: Size) -> None:
    height, width = resize.target_size(size)
    there = resize.boxes([[0, 0, size[1], size[0]]], size)
    assert np.allclose(there, [[0, 0, width, height]], rtol=1e-12)
