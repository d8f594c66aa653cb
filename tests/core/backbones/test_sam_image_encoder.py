"""SAM's image encoder gives segment-anything's embeddings, whichever way attention runs."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from segment_anything.modeling import ImageEncoderViT

from regionspot_core.backbones.sam.image_encoder import (
    Attend,
    SamImageEncoder,
    attend_folded,
    attend_in_products,
    attend_with_bias,
)

WAYS: list[Attend] = [attend_folded, attend_with_bias, attend_in_products]
AT_ONCE = {"all": 10**9, "a head": 7**2 + 1, "two queries": 20}
"""Scores at once, of 7 × 7 places and windows of 3 × 3."""
Make = Callable[..., ImageEncoderViT]


@pytest.fixture(scope="module")
def make() -> Make:
    """An encoder with a windowed and a global block; nothing in it is zero."""

    def build(side: int = 112, window: int = 3, **options: object) -> ImageEncoderViT:
        torch.manual_seed(0)
        encoder = ImageEncoderViT(
            img_size=side, embed_dim=64, depth=2, num_heads=2, out_chans=32, use_rel_pos=True,
            window_size=window, global_attn_indexes=(1,), **options,
        )  # fmt: skip
        with torch.no_grad():
            for value in encoder.parameters():
                value.normal_(std=0.2)
        return encoder.eval().requires_grad_(False)

    return build


def pixels(side: int, count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "attend",
    [
        None,
        *WAYS,
        *(partial(way, at_once=scores) for way in WAYS[1:] for scores in AT_ONCE.values()),
    ],
    ids=[
        "chosen",
        *(way.__name__ for way in WAYS),
        *(f"{way.__name__}, {some} at once" for way in WAYS[1:] for some in AT_ONCE),
    ],
)
def test_every_way_is_segment_anythings(make: Make, attend: Attend | None) -> None:
    encoder = make()  # 7 × 7 places: windows of 3 are padded to 9 × 9
    found, expected = SamImageEncoder(encoder, attend)(pixels(112)), encoder(pixels(112))
    assert (found - expected).abs().max() <= 1e-5
    assert expected.std() > 0.1


@pytest.mark.parametrize(
    "options",
    [{"qkv_bias": False}, {"use_abs_pos": False}, {"window": 7}, {"window": 0}],
    ids=str,
)
def test_other_encoders(make: Make, options: dict[str, bool]) -> None:
    encoder = make(**options)
    found, expected = SamImageEncoder(encoder)(pixels(112)), encoder(pixels(112))
    assert (found - expected).abs().max() <= 1e-5


def test_without_relative_positions(make: Make) -> None:
    encoder = make()
    for block in encoder.blocks:
        block.attn.use_rel_pos = False
    found, expected = SamImageEncoder(encoder)(pixels(112)), encoder(pixels(112))
    assert (found - expected).abs().max() <= 1e-5


def test_relative_positions_of_another_input_size(make: Make) -> None:
    encoder, larger = make(), pixels(160)
    encoder.pos_embed = None
    found, expected = SamImageEncoder(encoder)(larger), encoder(larger)
    assert (found - expected).abs().max() <= 1e-5


@pytest.mark.parametrize("attend", WAYS, ids=lambda way: way.__name__)
def test_bfloat16_stays_near(make: Make, attend: Attend) -> None:
    encoder = make()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = SamImageEncoder(encoder, attend)(pixels(112)).float()
    assert torch.cosine_similarity(found, encoder(pixels(112)), dim=1).min() >= 0.999


def test_weights_are_shared_not_copied(make: Make) -> None:
    encoder = make()
    ours = dict(SamImageEncoder(encoder).named_parameters())
    assert {name.removeprefix("encoder.") for name in ours} == set(encoder.state_dict())
    assert ours["encoder.blocks.0.attn.rel_pos_h"] is encoder.blocks[0].attn.rel_pos_h
