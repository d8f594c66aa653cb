"""Points, masks and no prompt at all: what segment-anything's own classes answer."""

import numpy as np
import pytest
import torch
from pycocotools import mask as rle_codec
from segment_anything import SamAutomaticMaskGenerator, SamPredictor

from regionspot_core.backbones.protocols import ProposeConfig
from regionspot_core.backbones.registry import load_region_encoder
from regionspot_core.backbones.runtime import Runtime, masks_at_once
from regionspot_core.backbones.sam.encoder import SamEncoder
from regionspot_core.imaging.prompts import BoxPrompts, MaskPrompts, PointPrompts, Prompts
from regionspot_core.tiny.models import load_tiny_sam
from regionspot_core.tiny.scenes import Scene, make_scene

SIZES = [(96, 96), (60, 96), (200, 75)]


@pytest.fixture(scope="module")
def encoder() -> SamEncoder:
    return load_region_encoder("tiny", runtime=Runtime.create("cpu"))


def scenes(count: int) -> list[Scene]:
    return [make_scene(np.random.default_rng(seed)) for seed in range(count)]


def make_image(size: tuple[int, int]) -> np.ndarray:
    image = make_scene(np.random.default_rng(5)).image
    rows, columns = (np.arange(length) * 96 // length for length in size)
    return np.ascontiguousarray(image[rows][:, columns])


def segment(
    encoder: SamEncoder, image: np.ndarray, prompts: Prompts
) -> tuple[torch.Tensor, np.ndarray]:
    embedding = encoder.embed([encoder.prepare(image)])
    found = list(encoder.segment(embedding, prompts, image.shape[:2]))
    return torch.cat([f.tokens.tokens_NMS for f in found]), np.concatenate(
        [f.masks_NHW for f in found]
    )


def ask_predictor(image: np.ndarray, **prompt: object) -> tuple[torch.Tensor, np.ndarray]:
    """Tokens inside ``SamPredictor``'s decoder, and its mask, for one prompt in pixels."""
    model, seen = load_tiny_sam(), []
    predictor = SamPredictor(model)
    predictor.set_image(image)
    model.mask_decoder.transformer.register_forward_hook(
        lambda _module, _inputs, output: seen.append(output[0][:, :5].clone())
    )
    masks, _, _ = predictor.predict(multimask_output=False, **prompt)
    return seen[0], masks


@pytest.mark.parametrize("size", SIZES)
def test_points_are_the_predictors(encoder: SamEncoder, size: tuple[int, int]) -> None:
    image = make_image(size)
    points = np.array([[10.5, 20], [40, 41.25]])
    labels = np.array([1, 0])
    prompts = PointPrompts.create(points[None], size, inside=labels[None])
    tokens, masks = segment(encoder, image, prompts)
    expected = ask_predictor(image, point_coords=points, point_labels=labels)
    assert (tokens - expected[0]).abs().max() <= 1e-5
    assert (masks == expected[1]).mean() > 0.999


def test_a_point_each_is_a_region_each(encoder: SamEncoder) -> None:
    image = make_image((96, 96))
    points = [[10, 20], [40, 41], [80, 9]]
    tokens, masks = segment(encoder, image, PointPrompts.create(points, (96, 96)))
    assert masks.shape == (3, 96, 96)
    for i, point in enumerate(points):
        expected, _ = ask_predictor(
            image, point_coords=np.array([point]), point_labels=np.array([1])
        )
        assert (tokens[i] - expected[0]).abs().max() <= 1e-5


@pytest.mark.parametrize("size", [(96, 96), (48, 96), (192, 96)])
def test_masks_are_the_predictors_with_box_and_low_logits(
    encoder: SamEncoder, size: tuple[int, int]
) -> None:
    """A mask of whole cells of the low resolution, which are then wholly inside or outside."""
    image = make_image(size)
    scale = 96 / max(size)  # to SAM's pixels; the low resolution has half as many
    low = np.full((48, 48), -8.0, dtype=np.float32)
    low[4:12, 6:20] = 8.0
    mask = np.zeros(size, dtype=bool)
    y1, y2, x1, x2 = (round(2 * value / scale) for value in (4, 12, 6, 20))
    mask[y1:y2, x1:x2] = True
    tokens, masks = segment(encoder, image, MaskPrompts.create(mask[None], size))
    expected = ask_predictor(image, box=np.array([x1, y1, x2, y2]), mask_input=low[None])
    assert (tokens - expected[0]).abs().max() <= 1e-5
    assert (masks == expected[1]).mean() > 0.999


def test_a_mask_prompt_says_more_than_its_box(encoder: SamEncoder) -> None:
    ious: dict[str, list[float]] = {"box": [], "mask": []}
    for scene in scenes(12):
        masks = MaskPrompts.create(scene.masks, (96, 96))
        for kind, prompts in (("mask", masks), ("box", BoxPrompts(masks.boxes))):
            _, found = segment(encoder, scene.image, prompts)
            both, either = (found & scene.masks), (found | scene.masks)
            ious[kind] += (both.sum((1, 2)) / either.sum((1, 2))).tolist()
    assert np.mean(ious["mask"]) > np.mean(ious["box"]) > 0.85


def test_proposals_are_the_automatic_generators(encoder: SamEncoder) -> None:
    """From the embedding there is, without encoding the image again."""
    image = make_image((60, 96))
    options = ProposeConfig(points_per_side=8, iou_threshold=0.6, stability_threshold=0.8)
    generator = SamAutomaticMaskGenerator(
        load_tiny_sam(), points_per_side=8, pred_iou_thresh=0.6, stability_score_thresh=0.8
    )
    expected = sorted(generator.generate(image), key=lambda region: -region["predicted_iou"])
    proposed = encoder.propose(encoder.embed([encoder.prepare(image)]), (60, 96), options)
    assert len(expected) > 2
    assert len(proposed.boxes) == len(expected)
    for box, region in zip(proposed.boxes, expected, strict=True):
        rows, columns = np.nonzero(region["segmentation"])
        tight = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert np.abs(box - tight).max() <= 1
    scores = [region["predicted_iou"] for region in expected]
    np.testing.assert_allclose(proposed.scores, np.clip(scores, 0, 1), atol=1e-4)


@pytest.mark.slow
def test_nearly_every_object_is_found_without_a_prompt(encoder: SamEncoder) -> None:
    found = total = 0
    for scene in scenes(12):
        embedding = encoder.embed([encoder.prepare(scene.image)])
        proposed = encoder.propose(embedding, (96, 96), ProposeConfig(points_per_side=16))
        for box in scene.boxes:
            total += 1
            found += any(_iou(box, other) > 0.5 for other in proposed.boxes)
    assert found / total > 0.9


def test_prompts_are_encoded_in_float32_whatever_the_precision() -> None:
    """In bfloat16 a position among SAM's 1024 pixels would be rounded to 4 of them."""
    prompts = (
        BoxPrompts(np.array([[3.0, 5, 60, 70], [4, 5, 60, 70]])),
        PointPrompts.create([[33.0, 44]], (96, 96)),
    )
    seen: dict[str, list[torch.Tensor]] = {"float32": [], "bfloat16": []}
    for precision, outputs in seen.items():
        model = load_tiny_sam()
        model.prompt_encoder.register_forward_hook(
            lambda _module, _inputs, output, outputs=outputs: outputs.extend(output)
        )
        runtime = Runtime.create("cpu", precision)  # type: ignore[arg-type]
        encoder = SamEncoder(model, name="tiny", runtime=runtime)
        embedding = encoder.embed([torch.zeros(3, 96, 96)])
        for some in prompts:
            list(encoder.segment(embedding, some, (96, 96)))
    assert len(seen["float32"]) == 4
    for expected, found in zip(seen["float32"], seen["bfloat16"], strict=True):
        assert torch.equal(expected, found)


@pytest.mark.parametrize(
    ("size", "masks"), [((96, 96), 32), ((1000, 2000), 32), ((3000, 4000), 5), ((20_000, 9_000), 1)]
)
def test_masks_of_large_images_are_made_a_few_at_a_time(size: tuple[int, int], masks: int) -> None:
    assert masks_at_once(size, most=32) == masks


def test_proposals_come_with_their_masks(encoder: SamEncoder) -> None:
    image = make_image((60, 96))
    options = ProposeConfig(points_per_side=8)
    proposed = encoder.propose(encoder.embed([encoder.prepare(image)]), (60, 96), options)
    assert len(proposed.masks) == len(proposed.boxes) > 0
    for rle, box in zip(proposed.masks, proposed.boxes, strict=True):
        x, y, width, height = rle_codec.toBbox(rle)
        assert np.abs(box - [x, y, x + width, y + height]).max() <= 1


def test_nothing_good_enough_is_no_region(encoder: SamEncoder) -> None:
    options = ProposeConfig(points_per_side=2, iou_threshold=1.0, stability_threshold=1.0)
    proposed = encoder.propose(encoder.embed([torch.zeros(3, 96, 96)]), (96, 96), options)
    assert (proposed.boxes.shape, proposed.scores.shape) == ((0, 4), (0,))
    assert proposed.masks == ()


def _iou(one: np.ndarray, other: np.ndarray) -> float:
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    both = np.prod(np.clip(high - low, 0, None))
    areas = [np.prod(box[2:] - box[:2]) for box in (one, other)]
    return float(both / (sum(areas) - both))
