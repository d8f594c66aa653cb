"""CLIP's view of each region: what its class token would be if the image were that region."""

from typing import Any

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from regionspot_core.backbones.clip.encoder import ClipEncoder
from regionspot_core.backbones.clip.open_clip_models import build_untrained
from regionspot_core.backbones.clip.region_views import region_obstacle
from regionspot_core.backbones.clip.towers import tower_shape
from regionspot_core.backbones.patch_grid import PatchGrid, touched_patches
from regionspot_core.backbones.runtime import Runtime
from regionspot_core.tiny.models import load_tiny_clip, tiny_tokenizer

CPU = Runtime.create("cpu")
PATCHES = 144


@pytest.fixture(scope="module")
def encoder() -> ClipEncoder:
    return ClipEncoder(load_tiny_clip(), tiny_tokenizer(), name="tiny", runtime=CPU)


@pytest.fixture(scope="module")
def images(encoder: ClipEncoder) -> list[torch.Tensor]:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (3, 96, 96, 3), dtype=np.uint8)
    return [encoder.prepare(picture) for picture in pictures]


def some_patches(*seeds: int, count: int = PATCHES) -> torch.Tensor:
    """A row of patches for each seed: overlapping, of any number, at least one."""
    rows = np.zeros((len(seeds), count), bool)
    for row, seed in zip(rows, seeds, strict=True):
        rng = np.random.default_rng(seed)
        row[rng.permutation(count)[: rng.integers(1, count)]] = True
    return torch.from_numpy(rows)


def naive(image: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """One region alone, by open_clip's own blocks and a mask: a copy of CLS before the image."""
    visual = load_tiny_clip().visual
    mean = torch.tensor(open_clip.OPENAI_DATASET_MEAN).view(3, 1, 1)
    std = torch.tensor(open_clip.OPENAI_DATASET_STD).view(3, 1, 1)
    tokens = visual._embeds(((image / 255 - mean) / std)[None])
    tokens = torch.cat([tokens[:, :1], tokens], dim=1)
    hidden = torch.zeros(len(tokens[0]), len(tokens[0]))
    hidden[1:, 0] = -torch.inf  # the image does not see the copy
    hidden[0, 1] = -torch.inf  # the copy does not see the image's CLS
    hidden[0, 2:] = torch.where(seen, 0.0, -torch.inf)
    for block in visual.transformer.resblocks:
        tokens = block(tokens, attn_mask=hidden)
    return F.normalize(visual.ln_post(tokens[0, 0]) @ visual.proj, dim=-1)


def test_it_is_the_class_token_of_a_masked_pass(
    encoder: ClipEncoder, images: list[torch.Tensor]
) -> None:
    one = torch.zeros(1, PATCHES, dtype=torch.bool)
    one[0, 17] = True
    seen = [some_patches(1, 2, 3), some_patches(4), torch.cat([one, some_patches(5, 1)])]
    found = encoder.region_embeddings(encoder.encode(images), seen)
    with torch.no_grad():
        expected = [naive(i, row) for i, rows in zip(images, seen, strict=True) for row in rows]
    assert found.shape == (7, encoder.text_width)
    torch.testing.assert_close(found, torch.stack(expected), atol=1e-5, rtol=0)


def test_all_patches_are_the_image(encoder: ClipEncoder, images: list[torch.Tensor]) -> None:
    every = torch.ones(2, PATCHES, dtype=torch.bool)
    found = encoder.region_embeddings(encoder.encode(images), [every] * 3)
    expected = encoder.image_embeddings(images).repeat_interleave(2, 0)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_the_images_tokens_are_the_same_to_the_bit(
    encoder: ClipEncoder, images: list[torch.Tensor]
) -> None:
    assert torch.equal(encoder.encode(images).tokens_BTC, encoder.image_tokens(images))


@settings(deadline=None, max_examples=15)
@given(
    counts=st.lists(st.integers(0, 4), min_size=3, max_size=3),
    seed=st.integers(0, 10**6),
    first=st.integers(0, 2),
)
def test_company_changes_nothing(
    encoder: ClipEncoder, images: list[torch.Tensor], counts: list[int], seed: int, first: int
) -> None:
    """Neither other regions of the image nor the batch's other images; and slices are images."""
    counts[first] += 1
    seen = [some_patches(*range(seed + 10 * b, seed + 10 * b + n)) for b, n in enumerate(counts)]
    encoded = encoder.encode(images)
    together = encoder.region_embeddings(encoded, seen)
    alone = encoder.region_embeddings(encoded[first : first + 1], [seen[first][:1]])
    torch.testing.assert_close(together[sum(counts[:first])], alone[0], atol=1e-5, rtol=0)


def test_an_image_without_regions_has_none(
    encoder: ClipEncoder, images: list[torch.Tensor]
) -> None:
    nothing = torch.zeros(0, PATCHES, dtype=torch.bool)
    assert encoder.region_embeddings(encoder.encode(images[:1]), [nothing]).shape == (0, 128)


def test_many_regions_are_taken_a_few_at_a_time(
    encoder: ClipEncoder, images: list[torch.Tensor]
) -> None:
    rows = some_patches(*range(10)).repeat(60, 1)
    found = encoder.region_embeddings(encoder.encode(images[:1]), [rows])
    torch.testing.assert_close(found[:10], found[-10:], atol=1e-5, rtol=0)


@pytest.mark.parametrize("precision", ["bfloat16"])
def test_lower_precision_is_near(images: list[torch.Tensor], precision: Any) -> None:
    """There the tower holds its tokens sequence first."""
    low = ClipEncoder(
        load_tiny_clip(), tiny_tokenizer(), name="tiny", runtime=Runtime.create("cpu", precision)
    )
    exact = ClipEncoder(load_tiny_clip(), tiny_tokenizer(), name="tiny", runtime=CPU)
    seen = [some_patches(1, 2), some_patches(3), some_patches(4)]
    found, expected = (e.region_embeddings(e.encode(images), seen) for e in (low, exact))
    assert (found * expected).sum(-1).min() >= 0.999


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ([0, 0, 20, 10], {(0, 0)}),  # up to a border, and no further
        ([0, 0, 20.5, 10], {(0, 0), (0, 1)}),
        ([35, 12, 61, 18], {(1, 1), (1, 2), (1, 3)}),
        ([-9, -9, 200, 200], {(r, c) for r in range(4) for c in range(4)}),
        ([30, 15, 30, 15], {(1, 1)}),  # no area
        ([90, 50, 99, 60], {(3, 3)}),  # beside the image
    ],
)
def test_a_box_has_the_patches_that_it_touches(box: list[float], expected: set) -> None:
    """An image 80 wide and 40 high has patches of 20 × 10."""
    seen = touched_patches(np.array([box]), (40, 80), PatchGrid(4, 1 / 4))
    assert {divmod(place, 4) for place in seen[0].nonzero().flatten().tolist()} == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "ViT-B-32-quickgelu",
        "coca_ViT-B-32",
        "EVA02-B-16",
        "ViT-B-16-SigLIP",
        "PE-Core-T-16-384",
        "MobileCLIP-B",
        "ViTamin-S",
    ],
)
def test_towers_of_every_kind(name: str) -> None:
    """All patches are the image's embedding; some are another's; a region has a length."""
    torch.manual_seed(0)
    model = build_untrained(name, device="cpu").eval()
    for part, weight in model.visual.named_parameters():  # all of them do something
        if weight.ndim == 1:
            torch.nn.init.normal_(weight, 0.0 if part.endswith("bias") else 1.0, 0.3)
        else:
            torch.nn.init.normal_(weight, 0, (len(weight) / weight.numel()) ** 0.5)
    encoder = ClipEncoder(model, open_clip.tokenize, name=name, runtime=CPU)
    assert encoder.region_obstacle is None
    assert encoder.patch_grid is not None
    patches = encoder.patch_grid.side**2
    shades = np.linspace(0, 255, 96 * 130 * 3).reshape(96, 130, 3)  # from dark to bright
    image = encoder.prepare(shades.astype(np.uint8))
    encoded = encoder.encode([image])
    assert torch.equal(encoded.tokens_BTC, encoder.image_tokens([image]))
    seen = torch.ones(2, patches, dtype=torch.bool)
    seen[1, patches // 8 :] = False
    found = encoder.region_embeddings(encoded, [seen])
    expected = encoder.image_embeddings([image])
    torch.testing.assert_close(found[:1], expected, atol=1e-5, rtol=0)
    assert (found[1] - expected[0]).abs().max() > 1e-4
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(2))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("vit_relpos_medium_patch16_cls_224", "its blocks are not those of a plain"),
        ("vit_medium_patch16_gap_256", "it pools its tokens in a way that is not known"),
    ],
)
def test_other_towers_say_why_not(name: str, why: str) -> None:
    visual = build_untrained(name, device="meta").visual
    prefix = tower_shape(visual, name=name).prefix_tokens
    assert why in str(region_obstacle(visual, prefix_tokens=prefix))
