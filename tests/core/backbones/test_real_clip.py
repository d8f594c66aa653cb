"""open_clip's real architectures, random weights: image tokens are its own last block's."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from regionspot_core.backbones.clip.encoder import ClipEncoder, _text_width
from regionspot_core.backbones.clip.open_clip_models import build_untrained, load_clip
from regionspot_core.backbones.clip.patches import project_tokens, projects_patches
from regionspot_core.backbones.clip.towers import resize_tower, tower_shape, tower_tokens
from regionspot_core.backbones.clip.weights import OPENAI_EXTRAS
from regionspot_core.backbones.patch_grid import PatchGrid
from regionspot_core.backbones.registry import load_image_text_encoder
from regionspot_core.backbones.runtime import Runtime
from regionspot_core.errors import InputError

pytestmark = pytest.mark.slow

CPU = Runtime.create("cpu")
OPENAI_B16 = "ViT-B-16"
PHOTOS = ("dog.jpg", "truck.jpg", "groceries.jpg")

SHAPES = [
    # name, input, image tokens, their width, text width
    ("ViT-B-16", 224, 1 + 14**2, 768, 512),
    ("ViT-L-14", 224, 1 + 16**2, 1024, 768),
    ("ViT-L-14-336", 336, 1 + 24**2, 1024, 768),
    ("coca_ViT-B-32", 224, 1 + 7**2, 768, 512),
    ("ViT-B-16-SigLIP", 224, 14**2, 768, 768),
    ("ViT-SO400M-14-SigLIP-384", 384, 27**2, 1152, 1152),
    ("EVA02-L-14-336", 336, 1 + 24**2, 1024, 768),
    ("PE-Core-bigG-14-448", 448, 32**2, 1536, 1280),
    ("ViTamin-S", 224, 14**2, 384, 384),
    ("vit_relpos_medium_patch16_cls_224", 224, 1 + 14**2, 512, 512),
]


@pytest.fixture(scope="module")
def reference() -> Any:
    """ViT-B-16 as OpenAI trained it: with QuickGELU."""
    torch.manual_seed(0)
    return open_clip.create_model("ViT-B-16-quickgelu", load_weights=False).eval()


@pytest.fixture(scope="module")
def weight_file(reference: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state dict with the three entries that OpenAI's have beside the weights."""
    path = tmp_path_factory.mktemp("clip") / "ViT-B-16.pt"
    torch.save(reference.state_dict() | {n: torch.tensor(0) for n in OPENAI_EXTRAS}, path)
    return path


@pytest.fixture(scope="module")
def encoder(weight_file: Path) -> ClipEncoder:
    return load_image_text_encoder(OPENAI_B16, pretrained=str(weight_file), runtime=CPU)


def make_picture() -> np.ndarray:
    y, x = np.mgrid[:130, :210] / 30
    waves = [np.sin(x + c) * np.cos(y - 2 * c) for c in range(3)]
    return (127 + 120 * np.stack(waves, -1)).astype(np.uint8)


def squashed(image: np.ndarray, side: int, mean: float | tuple, std: float | tuple) -> torch.Tensor:
    """Pixels (1, 3, side, side), by Pillow and by hand."""
    small = Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR)
    pixels = (np.asarray(small) / 255 - np.array(mean)) / np.array(std)
    return torch.from_numpy(pixels.transpose(2, 0, 1)[None]).float()


def by_hand(visual: Any, pixels: torch.Tensor) -> torch.Tensor:
    """The tower's parts one after the other, up to the last block."""
    patches = visual.conv1(pixels).flatten(2).transpose(1, 2)
    tokens = torch.cat([visual.class_embedding.expand(len(patches), 1, -1), patches], dim=1)
    tokens = visual.ln_pre(tokens + visual.positional_embedding)
    for block in visual.transformer.resblocks:
        tokens = block(tokens)
    return tokens


def hooked(model: Any, block: torch.nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    """What ``block`` gives while the model encodes the image in its own way."""
    seen: list[torch.Tensor] = []
    hook = block.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    with torch.no_grad():
        model.encode_image(pixels)
    hook.remove()
    return seen[0]


def check_openai_tokens(encoder: ClipEncoder, reference: Any, image: np.ndarray) -> None:
    pixels = squashed(image, 224, open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    found = encoder.image_tokens([encoder.prepare(image)])
    assert found.shape == (1, 197, 768)
    last = reference.visual.transformer.resblocks[-1]
    assert (found - hooked(reference, last, pixels)).abs().max() <= 1e-5
    with torch.no_grad():
        assert (found - by_hand(reference.visual, pixels)).abs().max() <= 1e-5


def test_tokens_of_a_drawn_picture(encoder: ClipEncoder, reference: torch.nn.Module) -> None:
    assert encoder.fingerprint()["activation"] == "QuickGELU"
    check_openai_tokens(encoder, reference, make_picture())


@pytest.mark.parametrize("name", PHOTOS)
def test_tokens_of_a_photograph(
    encoder: ClipEncoder,
    reference: torch.nn.Module,
    name: str,
    read_photo: Callable[[str], np.ndarray],
) -> None:
    check_openai_tokens(encoder, reference, read_photo(name))


def test_tokens_of_the_largest_of_openais() -> None:
    """BL@336's CLIP, of 300 million weights in its image tower: one model, so that it fits CI."""
    torch.manual_seed(0)
    model = build_untrained("ViT-L-14-336", device="cpu", quick_gelu=True)
    encoder = ClipEncoder(model, open_clip.tokenize, name="ViT-L-14-336", runtime=CPU)
    assert (encoder.token_count, encoder.token_width, encoder.text_width) == (577, 1024, 768)
    image = make_picture()
    pixels = squashed(image, 336, open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    expected = hooked(model, model.visual.transformer.resblocks[-1], pixels)
    assert (encoder.image_tokens([encoder.prepare(image)]) - expected).abs().max() <= 1e-5


@pytest.mark.parametrize("name", ["ViT-B-16-quickgelu", "EVA02-B-16"])
def test_a_tokens_embedding_is_the_towers_own(name: str) -> None:
    """Of CLS, which both kinds of tower pool by, it is the image's."""
    torch.manual_seed(0)
    model = build_untrained(name, device="cpu").eval()
    for weight in model.visual.parameters():
        if weight.ndim == 1:  # norms and biases that do something
            torch.nn.init.normal_(weight, 1, 0.3)
    pixels = squashed(make_picture(), 224, 0.5, 0.5)
    with torch.no_grad():
        found = project_tokens(model.visual, tower_tokens(model.visual, pixels))
        expected = model.encode_image(pixels)
    assert found.shape == (1, 197, 512)
    assert (found[:, 0] - expected).abs().max() <= 1e-4


@pytest.mark.parametrize(
    ("name", "grid"),
    [
        ("ViT-B-16", PatchGrid(14, 1 / 14)),
        ("EVA02-L-14-336", PatchGrid(24, 1 / 24)),
        ("coca_ViT-B-32", None),
        ("ViT-B-16-SigLIP", None),
        ("PE-Core-T-16-384", None),
    ],
)
def test_patches_of_towers_that_pool_by_attention_have_no_embeddings(
    name: str, grid: PatchGrid | None
) -> None:
    model = build_untrained(name, device="meta")
    assert projects_patches(model.visual) == (grid is not None)
    if grid is not None:
        shape = tower_shape(model.visual, name=name)
        assert (shape.grid, shape.patch / shape.side) == (grid.side, pytest.approx(grid.share))


def test_texts_are_open_clips(encoder: ClipEncoder, reference: Any) -> None:
    texts = ["a photo of a dining_table.", "bat_(animal)."]
    with torch.no_grad():
        expected = reference.encode_text(open_clip.get_tokenizer("ViT-B-16")(texts))
    assert (encoder.text_embeddings(texts) - expected).abs().max() <= 1e-5


@pytest.mark.parametrize(
    ("name", "count", "mean"),
    [
        ("ViT-B-16-SigLIP", 14**2, 0.5),
        ("EVA02-B-16", 1 + 14**2, open_clip.OPENAI_DATASET_MEAN),
        ("PE-Core-T-16-384", 1 + 24**2, 0.5),
    ],
)
def test_tokens_of_timms_towers(name: str, count: int, mean: float | tuple) -> None:
    """They enter the last norm: no pooling, no projection. SigLIP has no CLS."""
    torch.manual_seed(0)
    model = build_untrained(name, device="cpu")
    encoder = ClipEncoder(model, open_clip.tokenize, name=name, runtime=CPU)
    std = 0.5 if mean == 0.5 else open_clip.OPENAI_DATASET_STD
    side = tower_shape(model.visual, name=name).side
    pixels = squashed(make_picture(), side, mean, std)
    found = encoder.image_tokens([encoder.prepare(make_picture())])
    assert (
        found.shape == (1, encoder.token_count, encoder.token_width) == (1, count, found.shape[2])
    )
    assert (found - hooked(model, model.visual.trunk.blocks[-1], pixels)).abs().max() <= 1e-5
    with torch.no_grad():
        features = model.visual.trunk.forward_features(pixels)
        assert (model.visual.trunk.norm(found) - features).abs().max() <= 1e-5


@pytest.mark.parametrize(("name", "side", "count", "width", "text_width"), SHAPES)
def test_shapes(name: str, side: int, count: int, width: int, text_width: int) -> None:
    """Without memory: on torch's meta device. A larger input has a larger grid."""
    model = build_untrained(name, device="meta").eval()
    shape = tower_shape(model.visual, name=name)
    assert (shape.side, shape.token_count, shape.width) == (side, count, width)
    larger = (shape.grid + 2) * shape.patch
    resize_tower(model, larger, name=name)
    tokens = tower_tokens(model.visual, torch.zeros(2, 3, larger, larger, device="meta"))
    assert tokens.shape == (2, shape.prefix_tokens + (shape.grid + 2) ** 2, width)
    assert _text_width(model) == text_width


@pytest.mark.parametrize("name", ["RN50", "convnext_base_w", "MobileCLIP2-S0"])
def test_other_towers_say_which_kind_works(name: str) -> None:
    with pytest.raises(InputError, match=r"expected a Vision Transformer tower .* SigLIP, EVA\)"):
        load_clip(name, weights=None, runtime=CPU)
