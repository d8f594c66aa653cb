"""Baselines on crops: which pixels a box or a mask takes, and what is said of each crop."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from regionspot_core.backbones.crops import CROPS_AT_ONCE, masked_crops, touched_pixels
from regionspot_core.backbones.loading import BackboneConfig, load_backbones
from regionspot_core.datasets.vocabulary import Vocabulary
from regionspot_core.testing import make_bank
from regionspot_core.text.class_bank import ClassBank
from regionspot_evaluate.recognition.baselines.clip_crop import ClipCrop
from regionspot_evaluate.recognition.baselines.clip_masked_crop import ClipMaskedCrop, masked_crop
from regionspot_evaluate.recognition.baselines.protocol import ShownRegions
from regionspot_evaluate.recognition.image_regions import encode_masks

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
    found = touched_pixels(np.array(box, dtype=np.float32), (HEIGHT, WIDTH))
    assert found == (slice(*rows), slice(*columns))


place = st.floats(-20, 30, width=32)


@given(st.tuples(place, place, place, place))
def test_every_box_gives_pixels_and_holds_all_whole_ones_inside(box: tuple[float, ...]) -> None:
    x1, y1, x2, y2 = box
    pixels = coordinates()[touched_pixels(np.array(box), (HEIGHT, WIDTH))]
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

    text_width = 3
    mean_colour = (0, 0, 0)

    def __init__(self) -> None:
        self.batches: list[int] = []

    def prepare(self, image: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(image.astype(np.float32).mean((0, 1)))

    def image_embeddings(self, images: Sequence[torch.Tensor]) -> torch.Tensor:
        self.batches.append(len(images))
        return torch.nn.functional.normalize(torch.stack(list(images)), dim=-1)


def shown(image: np.ndarray, boxes: np.ndarray, masks: np.ndarray | None = None) -> ShownRegions:
    """Regions of an image; without masks (R, H, W), the masks are empty."""
    if masks is None:
        masks = np.zeros((len(boxes), *image.shape[:2]), dtype=bool)
    tokens = torch.zeros(1, 0, 0)
    return ShownRegions(image.shape[:2], tokens, boxes, encode_masks(masks), pixels=image)


def colour_bank() -> ClassBank:
    bank = make_bank(Vocabulary.from_names(["red", "green", "blue"]), width=3)
    return replace(bank, embeddings=np.eye(3, dtype=np.float32), logit_scale=2.0)


def test_probabilities_are_a_softmax_of_scaled_cosines() -> None:
    image = np.zeros((4, 8, 3), dtype=np.uint8)
    image[:, :4, 0] = 200  # red on the left
    image[:, 4:, 1:] = [90, 120]  # (0, 0.6, 0.8) on the right
    baseline = ClipCrop(MeanColour(), colour_bank())  # type: ignore[arg-type]
    found = baseline.probabilities(shown(image, np.array([[0, 0, 4, 4], [4, 0, 8, 4]])))
    logits = np.array([[2, 0, 0], [0, 1.2, 1.6]])
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert found.dtype == np.float32
    assert np.allclose(found, expected, atol=1e-6)


def test_no_boxes_ask_no_model() -> None:
    encoder = MeanColour()
    baseline = ClipCrop(encoder, colour_bank())  # type: ignore[arg-type]
    assert baseline.probabilities(shown(coordinates(), np.zeros((0, 4)))).shape == (0, 3)
    assert encoder.batches == []


def test_many_boxes_are_taken_in_batches_and_stay_in_order() -> None:
    random = np.random.default_rng(0)
    image = random.integers(1, 256, (30, 30, 3), dtype=np.uint8)
    corners = np.sort(random.uniform(0, 30, (2 * CROPS_AT_ONCE + 1, 2, 2)), axis=1)
    boxes = corners.reshape(-1, 4)
    encoder = MeanColour()
    baseline = ClipCrop(encoder, colour_bank())  # type: ignore[arg-type]
    together = baseline.probabilities(shown(image, boxes))
    assert encoder.batches == [CROPS_AT_ONCE, CROPS_AT_ONCE, 1]
    alone = [baseline.probabilities(shown(image, box[None]))[0] for box in boxes]
    assert np.allclose(together, alone, atol=1e-6)


def test_what_the_mask_leaves_out_is_painted_over() -> None:
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[2:5, 3:9] = True
    mask[3, 4] = False
    paint = np.array([7, 8, 9], dtype=np.uint8)
    found = masked_crop(coordinates(), np.array([2, 1, 6, 4]), encode_masks(mask[None])[0], paint)
    expected = [
        [coordinates()[y, x].tolist() if mask[y, x] else [7, 8, 9] for x in range(2, 6)]
        for y in range(1, 4)
    ]
    assert found.tolist() == expected
    assert found.dtype == np.uint8


@pytest.mark.parametrize(
    ("box", "scale", "rows", "columns", "own"),
    [
        ([2, 1, 6, 5], 1.0, (1, 5), (2, 6), range(2, 4)),  # the left half, to the middle
        ([2, 1, 6, 5], 1.5, (0, 6), (1, 7), range(2, 4)),  # a margin is never of the mask
        ([2.6, 1, 6.6, 5], 1.0, (1, 5), (2, 7), range(3, 5)),  # centres at 2.5 and 4.5 decide
        ([-2, 1, 6, 5], 1.0, (1, 5), (0, 6), range(2)),  # over the image's edge
        ([3, 2, 3, 2], 1.0, (2, 3), (3, 4), range(0)),  # no area
    ],
)
def test_a_sampled_mask_leaves_its_half_of_the_box(
    box: list[float],
    scale: float,
    rows: tuple[int, int],
    columns: tuple[int, int],
    own: Sequence[int],
) -> None:
    grid = torch.zeros(1, 16, 16)
    grid[..., :8] = 1
    (found,) = masked_crops(coordinates(), np.array([box]), grid, paint=(7, 8, 9), scale=scale)
    expected = [
        [[x, y, 0] if x in own and box[1] <= y < box[3] else [7, 8, 9] for x in range(*columns)]
        for y in range(*rows)
    ]
    assert found.tolist() == expected
    assert found.dtype == np.uint8


def test_masks_decide_between_regions_of_one_box() -> None:
    image = np.zeros((4, 8, 3), dtype=np.uint8)
    image[:, :4, 0], image[:, 4:, 2] = 200, 100  # red on the left, blue on the right
    box, left = np.array([[0, 0, 8, 4]] * 3), np.arange(8) < 4
    masks = np.stack([np.broadcast_to(side, (4, 8)) for side in (left, ~left, left | ~left)])
    baseline = ClipMaskedCrop(MeanColour(), colour_bank())  # type: ignore[arg-type]
    found = baseline.probabilities(shown(image, box, masks))
    mixed = np.array([200, 0, 100]) / np.hypot(200, 100)  # nothing painted: as ClipCrop
    logits = 2 * np.array([[1, 0, 0], [0, 0, 1], mixed])
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert np.allclose(found, expected, atol=1e-6)
    crop = ClipCrop(MeanColour(), colour_bank())  # type: ignore[arg-type]
    assert np.array_equal(crop.probabilities(shown(image, box))[2], found[2])


def test_the_paint_is_what_clip_takes_to_zero() -> None:
    clip = load_backbones(BackboneConfig(device="cpu")).image_text_encoder
    paint = np.broadcast_to(np.array(clip.mean_colour, dtype=np.uint8), (30, 50, 3))
    normalised = clip._normalise([clip.prepare(paint)])
    assert normalised.abs().max() <= 0.5 / 255 / 0.26  # half a grey level, CLIP's least deviation


def test_an_empty_mask_leaves_nothing_but_paint() -> None:
    paint = np.array([7, 8, 9], dtype=np.uint8)
    (empty,) = encode_masks(np.zeros((1, HEIGHT, WIDTH), dtype=bool))
    found = masked_crop(coordinates(), np.array([2, 1, 6, 4]), empty, paint)
    assert (found == paint).all()
    assert found.shape == (3, 4, 3)
