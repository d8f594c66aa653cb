"""The head: equal to PyTorch's own layers, blind to padding, and of the published size."""

import math

import pytest
import torch
from torch import nn

from regionspot_core.errors import ConfigError, InputError
from regionspot_core.heads.fusion import FusionConfig, FusionHead, visible_regions

SMALL = FusionConfig(region_width=8, image_width=16, text_width=12, heads=4, ffn_width=32)


def make_head(config: FusionConfig = SMALL, seed: int = 0) -> FusionHead:
    torch.manual_seed(seed)
    return FusionHead(config).eval()


def draw(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("image_width", "text_width", "millions"), [(768, 512, 24.2), (1024, 768, 38.9)]
)
def test_parameter_count_is_the_published_one(
    image_width: int, text_width: int, millions: float
) -> None:
    with torch.device("meta"):
        head = FusionHead(FusionConfig(image_width=image_width, text_width=text_width))
    assert round(sum(p.numel() for p in head.parameters()) / 1e6, 1) == millions


@pytest.mark.parametrize("regions", [1, 2, 7])
def test_equals_torchs_transformer_decoder(regions: int) -> None:
    """The same weights in ``nn.TransformerDecoder``, post-norm and ReLU, give the same output."""
    head = make_head()
    layer = nn.TransformerDecoderLayer(16, 4, 32, dropout=0.1, batch_first=True)
    reference = nn.TransformerDecoder(layer, 3, norm=nn.LayerNorm(16)).eval()
    reference.load_state_dict(head.decoder.state_dict(), strict=True)
    x, memory = draw(3, regions, 16), draw(3, 9, 16, seed=2)
    torch.testing.assert_close(head.decoder(x, memory, None), reference(x, memory))


@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_every_kind_of_layer_equals_torchs(norm: str, activation: str) -> None:
    kind = {"norm": norm, "activation": activation}
    head = make_head(FusionConfig.parse({**SMALL.to_json(), **kind}, source="test"))
    layer = nn.TransformerDecoderLayer(
        16, 4, 32, batch_first=True, norm_first=norm == "pre", activation=activation
    )
    reference = nn.TransformerDecoder(layer, 3, norm=nn.LayerNorm(16)).eval()
    reference.load_state_dict(head.decoder.state_dict(), strict=True)
    x, memory = draw(3, 4, 16), draw(3, 9, 16, seed=2)
    torch.testing.assert_close(head.decoder(x, memory, None), reference(x, memory))


def test_equals_torch_with_padding_masked() -> None:
    head = make_head()
    layer = nn.TransformerDecoderLayer(16, 4, 32, batch_first=True)
    reference = nn.TransformerDecoder(layer, 3, norm=nn.LayerNorm(16)).eval()
    reference.load_state_dict(head.decoder.state_dict(), strict=True)
    x, memory = draw(2, 5, 16), draw(2, 9, 16, seed=2)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], dtype=torch.bool)
    expected = reference(x, memory, tgt_key_padding_mask=~mask)
    torch.testing.assert_close(head.decoder(x, memory, mask)[mask], expected[mask])


def test_gradients_equal_torchs() -> None:
    head = make_head(SMALL.model_copy(update={"dropout": 0.0})).train()
    layer = nn.TransformerDecoderLayer(16, 4, 32, dropout=0.0, batch_first=True)
    reference = nn.TransformerDecoder(layer, 3, norm=nn.LayerNorm(16))
    reference.load_state_dict(head.decoder.state_dict(), strict=True)
    x, memory, weight = draw(2, 4, 16), draw(2, 9, 16, seed=2), draw(2, 4, 16, seed=3)
    (head.decoder(x, memory, None) * weight).sum().backward()
    (reference(x, memory) * weight).sum().backward()
    for (name, ours), theirs in zip(
        head.decoder.named_parameters(), reference.parameters(), strict=True
    ):
        torch.testing.assert_close(ours.grad, theirs.grad, msg=name)


def test_one_layer_by_hand() -> None:
    """With one region, self-attention is its own value; with equal keys, cross-attention is the
    mean of the values: every step can be written down."""
    config = FusionConfig(
        region_width=2, image_width=2, text_width=2, layers=1, heads=1, ffn_width=2
    )
    head = FusionHead(config).eval()
    eye, layer = torch.eye(2), head.decoder.layers[0]
    state = {name: torch.zeros_like(value) for name, value in head.state_dict().items()}
    for name in ("to_clip.weight", "projector.weight"):
        state[name] = eye
    for attention in ("self_attn", "multihead_attn"):
        prefix = f"decoder.layers.0.{attention}"
        # Queries and keys are zero, so all keys weigh the same; values pass unchanged.
        state[f"{prefix}.in_proj_weight"] = torch.cat([0 * eye, 0 * eye, eye])
        state[f"{prefix}.out_proj.weight"] = eye
    for norm in ("norm1", "norm2", "norm3"):
        state[f"decoder.layers.0.{norm}.weight"] = torch.ones(2)
    state["decoder.norm.weight"] = torch.ones(2)
    head.load_state_dict(state)
    assert layer.self_attn.heads == 1

    region, image = torch.tensor([[[3.0, 1.0]]]), torch.tensor([[[0.0, 6.0], [0.0, 2.0]]])
    # x + x = (6, 2), normalised to (1, -1); + mean value (0, 4) = (1, 3) → (-1, 1); the zero FFN
    # and the last norms leave (-1, 1); its unit vector is (-1, 1) / sqrt 2.
    expected = torch.tensor([[[-1.0, 1.0]]]) / math.sqrt(2)
    torch.testing.assert_close(head(region, image), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("extra", [1, 3, 60])
def test_padding_changes_no_region(extra: int) -> None:
    head, regions, image = make_head(), draw(2, 4, 8), draw(2, 9, 16, seed=2)
    padded = torch.cat([regions, 100 * draw(2, extra, 8, seed=3)], dim=1)
    mask = torch.zeros(2, 4 + extra, dtype=torch.bool)
    mask[:, :4] = True
    alone = head(regions, image, torch.ones(2, 4, dtype=torch.bool))
    assert (head(padded, image, mask)[:, :4] - alone).abs().max() <= 1e-6
    assert (alone - head(regions, image)).abs().max() <= 1e-6


def test_regions_do_see_each_other() -> None:
    head, regions, image = make_head(), draw(1, 3, 8), draw(1, 9, 16, seed=2)
    changed = regions.clone()
    changed[0, 2] += 1
    assert not torch.allclose(head(regions, image)[0, 0], head(changed, image)[0, 0], atol=1e-4)


def test_an_image_without_regions_stays_finite_and_gives_no_gradient_faults() -> None:
    head = make_head().train()
    out = head(draw(2, 3, 8), draw(2, 9, 16), torch.zeros(2, 3, dtype=torch.bool))
    out.sum().backward()
    assert torch.isfinite(out).all()
    assert all(torch.isfinite(p.grad).all() for p in head.parameters() if p.grad is not None)


def test_visible_regions_by_hand() -> None:
    mask = torch.tensor([[True, True, False]])
    expected = [[True, True, False], [True, True, False], [True, True, True]]
    assert visible_regions(mask)[0, 0].tolist() == expected


def test_embeddings_have_length_one() -> None:
    lengths = make_head()(draw(2, 4, 8), draw(2, 9, 16)).norm(dim=-1)
    torch.testing.assert_close(lengths, torch.ones(2, 4))


def test_logits_are_scaled_cosines() -> None:
    head = make_head(FusionConfig(region_width=2, image_width=8, text_width=2))
    regions = torch.tensor([[[0.6, 0.8]]])
    classes = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.8, -0.6]])
    expected = torch.tensor([[[60.0, 80.0, 0.0]]])
    torch.testing.assert_close(head.logits(regions, classes, 100.0), expected, atol=1e-5, rtol=0)


def test_a_learned_scale_takes_the_place_of_clips() -> None:
    config = FusionConfig(
        region_width=2, image_width=8, text_width=2, logit_scale="learned",
        initial_scale=14.0, initial_bias=-4.0,
    )  # fmt: skip
    logits = make_head(config).logits(torch.tensor([[[1.0, 0.0]]]), torch.eye(2), 100.0)
    torch.testing.assert_close(logits, torch.tensor([[[10.0, -4.0]]]))


@pytest.mark.parametrize(
    ("regions", "image", "mask", "message"),
    [
        ((2, 3, 9), (2, 9, 16), None, r"region tokens must be \(B, R, 8\), got \(2, 3, 9\)"),
        ((2, 8), (2, 9, 16), None, "region tokens must be"),
        ((2, 3, 8), (1, 9, 16), None, r"image tokens must be \(2, T, 16\), got \(1, 9, 16\)"),
        ((2, 3, 8), (2, 9, 15), None, "image tokens must be"),
        ((2, 3, 8), (2, 9, 16), (2, 4), r"the region mask must be \(2, 3\), got \(2, 4\)"),
    ],
)
def test_wrong_shapes_are_named(
    regions: tuple[int, ...],
    image: tuple[int, ...],
    mask: tuple[int, ...] | None,
    message: str,
) -> None:
    region_mask = None if mask is None else torch.ones(mask, dtype=torch.bool)
    with pytest.raises(InputError, match=message):
        make_head()(draw(*regions), draw(*image), region_mask)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ConfigError, match="image_width must be a multiple of heads"):
        FusionConfig.parse({"image_width": 20, "heads": 8}, source="test")
