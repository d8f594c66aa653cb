"""Image tokens are open_clip's own before ln_post; embeddings are its encode functions'."""

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch

from regionspot_core.backbones.clip import ClipEncoder, load_clip
from regionspot_core.backbones.registry import load_image_text_encoder, load_region_encoder
from regionspot_core.backbones.runtime import Runtime
from regionspot_core.errors import InputError, WeightsError
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


def test_text_embeddings_are_not_normalised(encoder: ClipEncoder) -> None:
    texts = ["a photo of a striped red star.", "solid blue circle."]
    with torch.no_grad():
        expected = load_tiny_clip().encode_text(tiny_tokenizer()(texts))
    torch.testing.assert_close(encoder.text_embeddings(texts), expected, atol=1e-5, rtol=0)


def test_a_saved_state_dict_of_the_real_architecture_loads(tmp_path: Path) -> None:
    torch.manual_seed(0)
    original = open_clip.create_model("ViT-B-32-quickgelu", load_weights=False)
    path = tmp_path / "clip.pt"
    torch.save(original.state_dict(), path)
    loaded = load_clip("ViT-B-32-quickgelu", pretrained=str(path), runtime=CPU)
    assert (loaded.token_count, loaded.token_width, loaded.text_width) == (50, 768, 512)
    assert loaded.fingerprint()["activation"] == "QuickGELU"
    image = np.random.default_rng(0).integers(0, 256, (50, 80, 3), dtype=np.uint8)
    prepared = loaded.prepare(image)
    assert prepared.shape == (3, 224, 224)
    with torch.no_grad():
        pixels = normalised([prepared.permute(1, 2, 0).numpy()])
        expected = original.eval().visual.transformer(original.visual._embeds(pixels))
    assert (loaded.image_tokens([prepared]) - expected).abs().max() <= 1e-5
    with pytest.raises(WeightsError, match="not the weights of CLIP ViT-B-16: "):
        load_clip("ViT-B-16", pretrained=str(path), runtime=CPU)


@pytest.mark.parametrize(
    ("name", "pretrained", "message"),
    [
        ("ViT-B-17", "openai", "no such model; expected 'tiny' or one of open_clip's"),
        ("ViT-B-16", None, "give --clip-pretrained openai|FILE"),
        ("ViT-B-16", "no-such-tag", r"neither a file nor a tag of ViT-B-16 \(.*openai"),
        ("tiny", "openai", "--clip tiny brings its own weights; leave out openai"),
    ],
)
def test_wrong_names_are_one_clear_error(name: str, pretrained: str | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_image_text_encoder(name, pretrained=pretrained, runtime=CPU)


def test_a_resnet_tower_says_which_kind_works() -> None:
    model = open_clip.create_model("RN50", load_weights=False)
    with pytest.raises(InputError, match=r"expected a Vision Transformer .* got ModifiedResNet"):
        ClipEncoder(model, open_clip.get_tokenizer("RN50"), name="RN50", runtime=CPU)


def test_unknown_region_encoder_lists_the_known() -> None:
    with pytest.raises(InputError, match="expected one of tiny, vit_b, vit_l, vit_h"):
        load_region_encoder("vit_x", runtime=CPU)


def test_unknown_device_is_an_input_error() -> None:
    with pytest.raises(InputError, match="device 'quantum' cannot be used here"):
        Runtime.create("quantum")
