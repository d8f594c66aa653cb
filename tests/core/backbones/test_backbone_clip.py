"""Image tokens are open_clip's own before ln_post; embeddings are its encode functions'."""

import numpy as np
import open_clip
import pytest
import torch

from regionspot_core.backbones.clip.encoder import ClipEncoder
from regionspot_core.backbones.patch_grid import PatchGrid
from regionspot_core.backbones.registry import load_image_text_encoder
from regionspot_core.backbones.runtime import Runtime
from regionspot_core.errors import InputError
from regionspot_core.tiny.models import load_tiny_clip, tiny_tokenizer

CPU = Runtime.create("cpu")


@pytest.fixture(scope="module")
def encoder() -> ClipEncoder:
    return ClipEncoder(load_tiny_clip(), tiny_tokenizer(), name="tiny", runtime=CPU)


def make_images(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (96, 96, 3), dtype=np.uint8) for _ in range(count)]


def normalised(images: list[np.ndarray]) -> torch.Tensor:
    mean = torch.tensor(open_clip.OPENAI_DATASET_MEAN).view(3, 1, 1)
    std = torch.tensor(open_clip.OPENAI_DATASET_STD).view(3, 1, 1)
    return torch.stack([(torch.tensor(i).permute(2, 0, 1) / 255 - mean) / std for i in images])


def test_tokens_are_what_enters_ln_post(encoder: ClipEncoder) -> None:
    """CLS pooling normalises the CLS token: hook ``ln_post`` and the last block."""
    model, images, seen = load_tiny_clip(), make_images(3), {}
    last = model.visual.transformer.resblocks[-1]
    last.register_forward_hook(lambda _m, _i, output: seen.update(block=output))
    model.visual.ln_post.register_forward_pre_hook(lambda _m, inputs: seen.update(ln=inputs[0]))
    with torch.no_grad():
        model.encode_image(normalised(images))
    tokens = encoder.image_tokens([encoder.prepare(image) for image in images])
    assert tokens.shape == (3, encoder.token_count, encoder.token_width) == (3, 145, 128)
    assert (tokens - seen["block"]).abs().max() <= 1e-5
    cls = seen["ln"] if seen["ln"].ndim == 2 else seen["ln"][:, 0]
    assert (tokens[:, 0] - cls).abs().max() <= 1e-5


def test_image_embeddings_are_encode_image(encoder: ClipEncoder) -> None:
    images = make_images(2)
    with torch.no_grad():
        expected = load_tiny_clip().encode_image(normalised(images), normalize=True)
    found = encoder.image_embeddings([encoder.prepare(image) for image in images])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_patch_embeddings_are_what_ln_post_and_the_projection_make(encoder: ClipEncoder) -> None:
    tokens = encoder.image_tokens([encoder.prepare(image) for image in make_images(2)])
    found = encoder.patch_embeddings(tokens)
    visual = load_tiny_clip().visual
    with torch.no_grad():
        expected = torch.stack(
            [torch.stack([visual.ln_post(t) @ visual.proj for t in each[1:]]) for each in tokens]
        )
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert encoder.patch_grid == PatchGrid(side=12, share=8 / 96)


def test_text_embeddings_are_not_normalised(encoder: ClipEncoder) -> None:
    texts = ["a photo of a striped red star.", "solid blue circle."]
    with torch.no_grad():
        expected = load_tiny_clip().encode_text(tiny_tokenizer()(texts))
    torch.testing.assert_close(encoder.text_embeddings(texts), expected, atol=1e-5, rtol=0)


def test_coca_does_not_normalise_texts_either() -> None:
    """Its ``encode_text`` does unless it is told not to."""
    torch.manual_seed(0)
    text = {"context_length": 76, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1}
    vision = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16, "output_tokens": True}
    model = open_clip.CoCa(
        16, multimodal_cfg=text, text_cfg={**text, "embed_cls": True, "output_tokens": True},
        vision_cfg=vision,
    )  # fmt: skip
    encoder = ClipEncoder(
        model, open_clip.SimpleTokenizer(context_length=76), name="coca", runtime=CPU
    )
    assert (encoder.token_count, encoder.token_width, encoder.text_width) == (5, 64, 16)
    assert encoder.image_tokens([torch.zeros(3, 32, 32)]).shape == (1, 5, 64)
    texts = ["a cat", "a photo of a dog"]
    found = encoder.text_embeddings(texts)
    tokens = open_clip.tokenize(texts, context_length=76)
    with torch.no_grad():
        expected, _ = model.text(tokens)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert (found.norm(dim=-1) - 1).abs().min() > 1e-2


@pytest.mark.parametrize(
    ("name", "pretrained", "message"),
    [
        ("ViT-B-16", None, "give --clip-pretrained openai|FILE"),
        ("ViT-B-16", "no-such-tag", r"neither a file nor a tag of ViT-B-16 \(.*openai"),
        ("RN50", None, r"expected a Vision Transformer .* got ModifiedResNet"),
        ("convnext_tiny", None, r"expected a Vision Transformer .* got ConvNeXt"),
        ("MobileCLIP-S1", None, r"expected a Vision Transformer .* got FastVit"),
        ("swin_base_patch4_window7_224", None, r"expected a Vision .* got SwinTransformer"),
    ],
)
def test_what_cannot_be_loaded_is_one_clear_error(
    name: str, pretrained: str | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        load_image_text_encoder(name, pretrained=pretrained, runtime=CPU)


def test_unknown_device_is_an_input_error() -> None:
    with pytest.raises(InputError, match="device 'quantum' cannot be used here"):
        Runtime.create("quantum")
