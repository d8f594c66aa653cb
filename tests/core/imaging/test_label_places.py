"""Labels of boxes in a picture: at their boxes, inside the picture, none over another."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regionspot_core.imaging.label_places import place_labels

CANVAS = (200, 300)
LABEL = (10, 60)


def covered(places: np.ndarray, size: tuple[int, int] = LABEL) -> int:
    """Pixels that more than one label is drawn on, counted on the picture itself."""
    canvas = np.zeros((400, 700), dtype=np.int64)
    for x, y in places.tolist():
        canvas[y : y + size[0], x : x + size[1]] += 1
    return int((canvas > 1).sum())


@pytest.mark.parametrize(
    ("box", "place"),
    [
        ((20, 30, 50, 60), (20, 20)),  # above, flush left
        ((20, 4, 50, 60), (20, 0)),  # at the upper edge: pushed inside the picture
        ((280, 30, 295, 60), (240, 20)),  # at the right edge likewise
    ],
)
def test_a_label_alone_is_above_its_box(
    box: tuple[int, int, int, int], place: tuple[int, int]
) -> None:
    assert place_labels(np.array([box]), [LABEL], CANVAS).tolist() == [list(place)]


def test_labels_of_one_box_go_around_it() -> None:
    boxes = np.array([[100.0, 80, 140, 120]] * 4)
    places = place_labels(boxes, [LABEL] * 4, CANVAS)
    assert covered(places) == 0
    assert (np.abs(places - [100, 80]).max(axis=1) <= 60).all()


@given(st.integers(0, 45), st.integers(0, 2**32 - 1))
def test_labels_that_have_room_cover_no_other(count: int, seed: int) -> None:
    """Of 1,443 places, a quarter of a label apart, each label takes 32 at most."""
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 1, (count, 2, 2)) * CANVAS[::-1]
    boxes = np.sort(corners, axis=1).reshape(-1, 4)
    places = place_labels(boxes, [(10, 30)] * count, CANVAS)
    assert covered(places, (10, 30)) == 0
    assert ((places >= 0) & (places + np.array([30, 10]) <= CANVAS[::-1])).all()


def test_more_labels_than_there_is_room_are_all_placed() -> None:
    boxes = np.tile([0.0, 0, 30, 20], (9, 1))
    places = place_labels(boxes, [(10, 40)] * 9, (20, 60))
    assert places.shape == (9, 2)
    assert (places >= 0).all()
    wide = place_labels(boxes[:1], [(10, 400)], (20, 60))  # wider than the picture
    assert wide.tolist() == [[0, 0]]
