"""Region tokens are those inside segment-anything's own predictor; masks are the predictor's."""

from pathlib import Path

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor

from regionspot_core.backbones.runtime import Runtime, hash_weights
from regionspot_core.backbones.sam.encoder import REGIONS_AT_ONCE, SamEncoder, load_sam
from regionspot_core.errors import InputError, WeightsError
from regionspot_core.imaging.prompts import BoxPrompts
from regionspot_core.tiny.models import load_tiny_sam

CPU = Runtime.create("cpu")
SIZES = [(96, 96), (60, 96), (200, 75), (31, 480)]
"""(height, width): as trained, wide, tall and larger, very wide."""


@pytest.fixture(scope="module")
def encoder() -> SamEncoder:
    return SamEncoder(load_tiny_sam(), name="tiny", runtime=CPU)


def make_image(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (size[0] // 8 + 1, size[1] // 8 + 1, 3), dtype=np.uint8)
    return np.repeat(np.repeat(coarse, 8, axis=0), 8, axis=1)[: size[0], : size[1]].copy()


def make_boxes(size: tuple[int, int], count: int, seed: int = 0) -> np.ndarray:
    corners = np.sort(np.random.default_rng(seed).random((count, 2, 2)), axis=1)
    return (corners * [size[1], size[0]]).reshape(-1, 4).astype(np.float32)


def ask_predictor(image: np.ndarray, boxes: np.ndarray) -> tuple[torch.Tensor, np.ndarray]:
    """The decoder transformer's output tokens, hooked, and the masks, of ``SamPredictor``."""
    model, seen = load_tiny_sam(), []
    predictor = SamPredictor(model)
    predictor.set_image(image)
    hook = model.mask_decoder.transformer.register_forward_hook(
        lambda _module, _inputs, output: seen.append(output[0][:, :5].clone())
    )
    scaled = predictor.transform.apply_boxes_torch(torch.from_numpy(boxes), image.shape[:2])
    masks, _, _ = predictor.predict_torch(None, None, scaled, multimask_output=False)
    hook.remove()
    return seen[0], masks[:, 0].numpy()


@pytest.mark.parametrize("size", SIZES)
def test_tokens_and_masks_are_the_predictors(encoder: SamEncoder, size: tuple[int, int]) -> None:
    image, boxes = make_image(size), make_boxes(size, 5)
    tokens, masks = ask_predictor(image, boxes)
    embedding = encoder.embed([encoder.prepare(image)])
    decoded = encoder.decode(embedding, [boxes], [size])
    assert (decoded.tokens_NMS - tokens).abs().max() <= 1e-5
    (segmented,) = encoder.segment(embedding, BoxPrompts(boxes), size)
    assert (segmented.tokens.tokens_NMS - tokens).abs().max() <= 1e-5
    assert segmented.masks_NHW.shape == (5, *size)
    assert (segmented.masks_NHW == masks).mean() > 0.9999


def test_a_batch_of_images_equals_each_alone(encoder: SamEncoder) -> None:
    images = [make_image(size, seed) for seed, size in enumerate(SIZES)]
    boxes = [
        make_boxes(size, count, count) for size, count in zip(SIZES, (3, 0, 7, 1), strict=True)
    ]
    prepared = [encoder.prepare(image) for image in images]
    together = encoder.decode(encoder.embed(prepared), boxes, SIZES)
    alone = [
        encoder.decode(encoder.embed([p]), [b], [s])
        for p, b, s in zip(prepared, boxes, SIZES, strict=True)
    ]
    assert together.tokens_NMS.shape == (11, 5, 128)
    torch.testing.assert_close(together.tokens_NMS, torch.cat([a.tokens_NMS for a in alone]),
                               atol=1e-4, rtol=0)  # fmt: skip
    torch.testing.assert_close(together.iou_NQ, torch.cat([a.iou_NQ for a in alone]),
                               atol=1e-4, rtol=0)  # fmt: skip


def test_more_regions_than_one_chunk(encoder: SamEncoder) -> None:
    count = 2 * REGIONS_AT_ONCE + 3
    boxes, embedding = make_boxes((96, 96), count), encoder.embed([torch.zeros(3, 96, 96)])
    decoded = encoder.decode(embedding, [boxes], [(96, 96)])
    last = encoder.decode(embedding, [boxes[-1:]], [(96, 96)])
    assert decoded.tokens_NMS.shape[0] == count
    torch.testing.assert_close(decoded.tokens_NMS[-1:], last.tokens_NMS, atol=1e-5, rtol=0)
    assert (
        sum(len(s.masks_NHW) for s in encoder.segment(embedding, BoxPrompts(boxes), (96, 96)))
        == count
    )


def test_no_regions_at_all(encoder: SamEncoder) -> None:
    embedding = encoder.embed([torch.zeros(3, 96, 96)])
    decoded = encoder.decode(embedding, [np.zeros((0, 4))], [(96, 96)])
    assert decoded.tokens_NMS.shape == (0, 5, 128)
    assert decoded.iou_NQ.shape == (0, 4)
    assert list(encoder.segment(embedding, BoxPrompts(np.zeros((0, 4))), (96, 96))) == []


def test_iou_is_the_decoders(encoder: SamEncoder) -> None:
    model, boxes = load_tiny_sam(), make_boxes((96, 96), 4)
    embedding = encoder.embed([encoder.prepare(make_image((96, 96)))])
    sparse, dense = model.prompt_encoder(points=None, boxes=torch.from_numpy(boxes), masks=None)
    with torch.no_grad():
        _, iou = model.mask_decoder.predict_masks(
            embedding, model.prompt_encoder.get_dense_pe(), sparse, dense
        )
    found = encoder.decode(embedding, [boxes], [(96, 96)]).iou_NQ
    torch.testing.assert_close(found, iou, atol=1e-5, rtol=0)


def test_without_a_file_named_it_is_the_one_in_the_usual_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    usual = tmp_path / "hub" / "checkpoints" / "sam_vit_h_4b8939.pth"
    with pytest.raises(InputError, match="extract weights --sam vit_h`, or give --sam-checkpoint"):
        load_sam("vit_h", weights=None, runtime=CPU)
    usual.parent.mkdir(parents=True)
    usual.write_bytes(b"half of it")
    with pytest.raises(WeightsError, match=f"{usual}: truncated .* --sam vit_h` fetches it"):
        load_sam("vit_h", weights=None, runtime=CPU)


def test_the_hash_sees_one_changed_weight() -> None:
    model = load_tiny_sam()
    before = hash_weights(model)
    with torch.no_grad():
        model.mask_decoder.iou_token.weight[0, 0] += 1e-3
    assert hash_weights(model) != before


def test_masks_of_a_large_image_come_one_at_a_time(encoder: SamEncoder) -> None:
    """Never a dense stack of them all; and they are those of the predictor's stack."""
    size = (3000, 4000)
    image, boxes = make_image(size), make_boxes(size, 3)
    tokens, masks = ask_predictor(image, boxes)
    few = list(encoder.segment(encoder.embed([encoder.prepare(image)]), BoxPrompts(boxes), size))
    assert [len(each.masks_NHW) for each in few] == [1, 1, 1]
    found = torch.cat([each.tokens.tokens_NMS for each in few])
    assert (found - tokens).abs().max() <= 1e-5
    assert (np.concatenate([each.masks_NHW for each in few]) == masks).mean() > 0.9999
