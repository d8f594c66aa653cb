"""The baseline: which pixels a box takes, and what is said of each crop."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from regionspot_core.class_bank import ClassBank
from regionspot_core.testing import make_bank
from regionspot_core.vocabulary import Vocabulary
from regionspot_evaluate.clip_crop import CROPS_AT_ONCE, ClipCrop, crop

HEIGHT, WIDTH = 6, 10


def coordinates() -> np.ndarray:
    """An image whose pixels say where they are: (HEIGHT, WIDTH, 3) of x, y, 0."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([x, y, 0 * x], axis=-1).astype(np.uint8)


@pytest.mark.parametrize(
    ("box", "rows", "columns"),
    [
        ([0, 0, 10, 6], (0, 6), (0, 10)),
        ([2, 1, 5, 3], (1, 3), (2, 5)),
        ([2.5, 1.5, 4.5, 2.5], (1, 3), (2, 5)),  # pixels it touches in part
        ([2.9, 1.9, 3.1, 2.1], (1, 3), (2, 4)),  # across a corner of four
        ([2.2, 1.2, 2.4, 1.4], (1, 2), (2, 3)),  # inside one
        ([3, 2, 3, 2], (2, 3), (3, 4)),  # no area: the pixel it stands on
        ([-4, -4, 2.5, 1], (0, 1), (0, 3)),
        ([8.5, 5.5, 40, 40], (5, 6), (8, 10)),
        ([10, 6, 10, 6], (5, 6), (9, 10)),  # on the far corner
        ([20, -9, 30, -8], (0, 1), (9, 10)),  # outside: the nearest pixel
        ([-9, 20, -8, 30], (5, 6), (0, 1)),
    ],
)
def test_the_pixels_a_box_touches(
    box: list[float], rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    expected = coordinates()[slice(*rows), slice(*columns)]
    assert np.array_equal(crop(coordinates(), np.array(box, dtype=np.float32)), expected)


place = st.floats(-20, 30, width=32)


@given(st.tuples(place, place, place, place))
def test_every_box_gives_pixels_and_holds_all_whole_ones_inside(box: tuple[float, ...]) -> None:
    x1, y1, x2, y2 = box
    pixels = crop(coordinates(), np.array(box))
    assert pixels.size
    taken = {(int(x), int(y)) for x, y, _ in pixels.reshape(-1, 3)}
    touched = {
        (x, y)
        for x in range(WIDTH)
        for y in range(HEIGHT)
        if x < x2 and x + 1 > x1 and y < y2 and y + 1 > y1
    }
    assert touched <= taken
    assert not touched or taken == touched or x1 >= x2 or y1 >= y2


class MeanColour:
    """Stands for CLIP: a crop's embedding is its mean colour, length 1."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def prepare(self, image: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(image.astype(np.float32).mean((0, 1)))

    def image_embeddings(self, images: Sequence[torch.Tensor]) -> torch.Tensor:
        self.batches.append(len(images))
        return torch.nn.functional.normalize(torch.stack(list(images)), dim=-1)


def colour_bank() -> ClassBank:
    bank = make_bank(Vocabulary.from_names(["red", "green", "blue"]), width=3)
    return replace(bank, embeddings=np.eye(3, dtype=np.float32), logit_scale=2.0)


def test_probabilities_are_a_softmax_of_scaled_cosines() -> None:
    image = np.zeros((4, 8, 3), dtype=np.uint8)
    image[:, :4, 0] = 200  # red on the left
    image[:, 4:, 1:] = [90, 120]  # (0, 0.6, 0.8) on the right
    baseline = ClipCrop(MeanColour(), colour_bank())  # type: ignore[arg-type]
    found = baseline.probabilities(image, np.array([[0, 0, 4, 4], [4, 0, 8, 4]]))
    logits = np.array([[2, 0, 0], [0, 1.2, 1.6]])
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert found.dtype == np.float32
    assert np.allclose(found, expected, atol=1e-6)


def test_no_boxes_ask_no_model() -> None:
    encoder = MeanColour()
    baseline = ClipCrop(encoder, colour_bank())  # type: ignore[arg-type]
    assert baseline.probabilities(coordinates(), np.zeros((0, 4))).shape == (0, 3)
    assert encoder.batches == []


def test_many_boxes_are_taken_in_batches_and_stay_in_order() -> None:
    random = np.random.default_rng(0)
    image = random.integers(1, 256, (30, 30, 3), dtype=np.uint8)
    corners = np.sort(random.uniform(0, 30, (2 * CROPS_AT_ONCE + 1, 2, 2)), axis=1)
    boxes = corners.reshape(-1, 4)
    encoder = MeanColour()
    baseline = ClipCrop(encoder, colour_bank())  # type: ignore[arg-type]
    together = baseline.probabilities(image, boxes)
    assert encoder.batches == [CROPS_AT_ONCE, CROPS_AT_ONCE, 1]
    alone = [baseline.probabilities(image, box[None])[0] for box in boxes]
    assert np.allclose(together, alone, atol=1e-6)
