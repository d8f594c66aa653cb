"""SAM ViT-B as published, random weights: region tokens are those inside ``SamPredictor``.

An image of 1024 pixels takes the encoder 20 seconds on one core, so at that size pictures go
through two of its blocks; at 256 pixels through all twelve.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor, sam_model_registry
from segment_anything.modeling import Sam

from regionspot_core.backbones.registry import load_region_encoder
from regionspot_core.backbones.runtime import Runtime, hash_weights
from regionspot_core.backbones.sam.encoder import SamEncoder
from regionspot_core.backbones.sam.input import resize_sam_input
from regionspot_core.errors import WeightsError

pytestmark = pytest.mark.slow

CPU = Runtime.create("cpu")
SMALL = 256
PHOTOS = ("dog.jpg", "truck.jpg", "groceries.jpg")


def drawn(name: str) -> Sam:
    """Random weights, those that start at zero too."""
    torch.manual_seed(0)
    model = sam_model_registry[name]()
    with torch.no_grad():
        for weight, value in model.named_parameters():
            if "pos" in weight or "bias" in weight:
                value.normal_(std=0.02)
    return model


def shorten(model: Sam) -> None:
    """Leave a block that attends within windows and the next one, which attends to all."""
    blocks = model.image_encoder.blocks
    first = next(place for place, block in enumerate(blocks) if not block.window_size)
    model.image_encoder.blocks = blocks[first - 1 : first + 1]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As Meta's file: a plain state dict."""
    model = drawn("vit_b")
    path = tmp_path_factory.mktemp("sam") / "sam_vit_b.pth"
    torch.save(model.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def reference(checkpoint: Path) -> SamPredictor:
    """Loaded by segment-anything itself, and then small."""
    model = sam_model_registry["vit_b"](checkpoint=str(checkpoint))
    resize_sam_input(model, SMALL, name="vit_b")
    return SamPredictor(model)


@pytest.fixture(scope="module")
def small(checkpoint: Path) -> SamEncoder:
    return load_region_encoder("vit_b", checkpoint=checkpoint, input_size=SMALL, runtime=CPU)


def make_picture(size: tuple[int, int]) -> np.ndarray:
    """Smooth blobs: as a photograph's, neighbouring pixels are alike."""
    y, x = np.mgrid[: size[0], : size[1]] / 40
    waves = [np.sin(x + c) * np.cos(y - 2 * c) + np.sin(0.3 * x * y / (1 + c)) for c in range(3)]
    return (127 + 60 * np.stack(waves, -1)).astype(np.uint8)


def make_boxes(size: tuple[int, int]) -> np.ndarray:
    height, width = size
    return np.array(
        [
            [0, 0, width, height],
            [0.1 * width, 0.2 * height, 0.4 * width, 0.9 * height],
            [0.5 * width, 0.1 * height, 0.55 * width, 0.15 * height],
            [width - 40.5, height - 30.25, width, height],
        ]
    )  # fmt: skip


def predicted_tokens(predictor: SamPredictor, boxes: np.ndarray) -> torch.Tensor:
    """Output tokens of the mask decoder's transformer, one call of ``predict`` a box."""
    seen: list[torch.Tensor] = []
    hook = predictor.model.mask_decoder.transformer.register_forward_hook(
        lambda _module, _inputs, output: seen.append(output[0][:, :5].clone())
    )
    for box in boxes:
        predictor.predict(box=box, multimask_output=False)
    hook.remove()
    return torch.cat(seen)


def check_tokens(encoder: SamEncoder, predictor: SamPredictor, image: np.ndarray) -> None:
    predictor.set_image(image)
    boxes = make_boxes(image.shape[:2])
    expected = predicted_tokens(predictor, boxes)
    embedding = encoder.embed([encoder.prepare(image)])
    found = encoder.decode(embedding, [boxes], [image.shape[:2]]).tokens_NMS
    assert found.shape == (4, 5, 256)
    assert (found - expected).abs().max() <= 1e-5
    # Regions differ by more than that, so equality says something.
    assert (found[0] - found[2]).abs().max() > 1e-3


@pytest.mark.parametrize("size", [(120, 200), (300, 100)])
def test_tokens_of_a_drawn_picture(
    small: SamEncoder, reference: SamPredictor, size: tuple[int, int]
) -> None:
    check_tokens(small, reference, make_picture(size))


@pytest.mark.parametrize("name", PHOTOS)
def test_tokens_of_a_photograph(
    small: SamEncoder,
    reference: SamPredictor,
    name: str,
    read_photo: Callable[[str], np.ndarray],
) -> None:
    check_tokens(small, reference, read_photo(name))


@pytest.mark.parametrize("name", ["vit_l", "vit_h"])
def test_tokens_of_the_larger_ones(name: str) -> None:
    """Two of their blocks: they are wider and, in ViT-H, their heads have 80 values."""
    model = drawn(name)
    shorten(model)
    resize_sam_input(model, SMALL, name=name)
    predictor = SamPredictor(model)  # both on the same weights
    check_tokens(SamEncoder(model, name=name, runtime=CPU), predictor, make_picture((120, 200)))


@pytest.mark.parametrize("name", [None, "truck.jpg"])
def test_tokens_at_full_size(
    name: str | None, checkpoint: Path, request: pytest.FixtureRequest
) -> None:
    """A drawing, and a photograph, through a block of windows and one of the whole image."""
    image = (
        make_picture((600, 900)) if name is None else request.getfixturevalue("read_photo")(name)
    )
    model = sam_model_registry["vit_b"](checkpoint=str(checkpoint))
    encoder = load_region_encoder("vit_b", checkpoint=checkpoint, runtime=CPU)
    assert encoder.fingerprint()["weights"] == hash_weights(model)
    assert encoder.fingerprint()["input"] == 1024
    for whole in (model, encoder._model):
        shorten(whole)
    check_tokens(encoder, SamPredictor(model), image)


def test_another_architecture_is_named(checkpoint: Path) -> None:
    with pytest.raises(WeightsError, match=f"{checkpoint}: .*not the weights of SAM vit_l: miss"):
        load_region_encoder("vit_l", checkpoint=checkpoint, runtime=CPU)
