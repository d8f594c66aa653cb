"""The head's options: each by hand or against PyTorch's own, and none lets padding through."""

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from regionspot_core.config import Config
from regionspot_core.errors import ConfigError, InputError
from regionspot_core.heads.fusion import FusionConfig, FusionHead, FusionOptions, normalised_boxes
from regionspot_core.heads.fusion.attention import Attention, KeyProjection
from regionspot_core.heads.fusion.box_geometry import box_features
from regionspot_core.heads.fusion.image_tokens import pooled_tokens, sincos_positions, token_grid
from regionspot_core.region_tokens import KeptTokens, TokenChoice, chosen_count, chosen_tokens

WIDTHS = {"region_width": 8, "image_width": 16, "text_width": 12, "image_tokens": 17}
SMALL = {**WIDTHS, "heads": 4, "ffn_width": 32}
OPTIONS: list[dict[str, Any]] = [
    {},
    {"region_tokens": "masks", "region_token_count": 4},
    {"region_tokens": "all", "region_token_count": 5},
    {"box_geometry": True},
    {"image_positions": "sincos"},
    {"image_positions": "learned"},
    {"image_pooling": 2},
    {"shared_keys": True},
    {"region_embedding": "residual", "region_embeddings": "tokens"},
    {"region_embedding": "query", "region_embeddings": "crop"},
    {"mask_geometry": True},
    {"width": 8},
    {"width": 20, "shared_keys": True, "norm": "pre"},
    {
        "region_tokens": "all", "region_token_count": 5, "box_geometry": True, "width": 8,
        "image_positions": "learned", "image_pooling": 4, "shared_keys": True,
    },
]  # fmt: skip
every_option = pytest.mark.parametrize("options", OPTIONS, ids=str)


def make_head(**options: Any) -> FusionHead:
    torch.manual_seed(0)
    return FusionHead(FusionConfig.parse({**SMALL, **options}, source="test")).eval()


def draw(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def draw_boxes(*shape: int, seed: int = 4) -> torch.Tensor:
    corners = torch.rand(*shape, 2, 2, generator=torch.Generator().manual_seed(seed))
    return corners.sort(dim=-2).values.flatten(-2)


def draw_embeddings(*shape: int, seed: int = 5) -> torch.Tensor:
    """CLIP's own embeddings of regions."""
    return F.normalize(draw(*shape, WIDTHS["text_width"], seed=seed), dim=-1)


def draw_masks(*shape: int, seed: int = 6) -> torch.Tensor:
    """Masks of regions inside their boxes."""
    return torch.rand(*shape, 16, 16, generator=torch.Generator().manual_seed(seed))


@every_option
@pytest.mark.parametrize("extra", [1, 30])
def test_padding_changes_no_region(options: dict[str, Any], extra: int) -> None:
    head = make_head(**options)
    width = 8 * head.config.region_token_count
    regions, image, boxes = draw(2, 4, width), draw(2, 17, 16, seed=2), draw_boxes(2, 4)
    embeddings, masks = draw_embeddings(2, 4), draw_masks(2, 4)
    padded = torch.cat([regions, 100 * draw(2, extra, width, seed=3)], dim=1)
    padded_boxes = torch.cat([boxes, 100 * draw_boxes(2, extra)], dim=1)
    padded_embeddings = torch.cat([embeddings, 100 * draw_embeddings(2, extra)], dim=1)
    mask = torch.arange(4 + extra).expand(2, -1) < 4
    padded_masks = torch.cat([masks, 100 * draw_masks(2, extra)], dim=1)
    alone = head(regions, image, mask[:, :4], boxes, embeddings, masks)
    found = head(padded, image, mask, padded_boxes, padded_embeddings, padded_masks)
    assert (found[:, :4] - alone).abs().max() <= 1e-6
    assert (alone - head(regions, image, None, boxes, embeddings, masks)).abs().max() <= 1e-6


class MatrixProducts(TorchDispatchMode):
    """The shapes of all products of matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None):
        out = function(*args, **(kwargs or {}))
        if function.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm):
            self.shapes.append(tuple(out.shape))
        return out


@every_option
def test_no_gradient_of_image_tokens_is_computed(options: dict[str, Any]) -> None:
    """Of B = 2 images of T tokens it would be a product of B·T rows and C columns."""
    head = make_head(**options).train()
    regions = draw(2, 4, 8 * head.config.region_token_count)
    image = draw(2, 17, 16, seed=2).requires_grad_()
    tokens = pooled_tokens(image, head.config.image_pooling).shape[1]
    out = head(regions, image, None, draw_boxes(2, 4), draw_embeddings(2, 4), draw_masks(2, 4))
    loss = out.square().mul(draw(2, 4, 12)).sum()
    with MatrixProducts() as seen:
        loss.backward()
    assert seen.shapes
    assert (2 * tokens, 16) not in seen.shapes
    assert image.grad is None
    if options == {}:  # the same look does find such a product where there is one
        loss = head.decoder(draw(2, 4, 16), image, None).square().mul(draw(2, 4, 16)).sum()
        with MatrixProducts() as seen:
            loss.backward()
        assert (2 * tokens, 16) in seen.shapes


@every_option
def test_every_weight_is_learnt(options: dict[str, Any]) -> None:
    head = make_head(**options).train()
    regions = draw(2, 4, 8 * head.config.region_token_count)
    image = draw(2, 17, 16, seed=2)
    out = head(regions, image, None, draw_boxes(2, 4), draw_embeddings(2, 4), draw_masks(2, 4))
    out.mul(draw(2, 4, 12, seed=3)).sum().backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@every_option
def test_a_config_comes_back_from_its_record(options: dict[str, Any]) -> None:
    config = make_head(**options).config
    assert FusionConfig.parse(config.to_json(), source="test") == config


@pytest.mark.parametrize("option", [{}, {"width": 16}, {"image_pooling": 2}])
def test_a_seeds_weights_are_those_of_plain_torch_layers(option: dict[str, Any]) -> None:
    """The paper's head has the names, the order and the first weights it always had."""
    torch.manual_seed(7)
    reference = nn.Module()
    reference.to_clip = nn.Linear(8, 16)
    reference.decoder = nn.Module()
    layers = [nn.TransformerDecoderLayer(16, 4, 32, batch_first=True) for _ in range(3)]
    reference.decoder.layers = nn.ModuleList(layers)
    reference.decoder.norm = nn.LayerNorm(16)
    reference.projector = nn.Linear(16, 12)
    torch.manual_seed(7)
    state = FusionHead(FusionConfig.parse({**SMALL, **option}, source="test")).state_dict()
    expected = reference.state_dict()
    assert list(state) == list(expected)
    for name, value in expected.items():
        assert torch.equal(state[name], value), name


@pytest.mark.parametrize(
    ("option", "new"),
    [
        ({"box_geometry": True}, ["box_embedding.weight", "box_embedding.bias"]),
        ({"image_positions": "learned"}, ["image_positions"]),
        ({"image_positions": "sincos"}, []),
    ],
)
def test_what_is_added_leaves_the_other_weights(option: dict[str, Any], new: list[str]) -> None:
    plain, other = make_head().state_dict(), make_head(**option).state_dict()
    assert sorted(other.keys() - plain.keys()) == sorted(new)
    assert all(torch.equal(other[name], value) for name, value in plain.items())


# Region tokens


@pytest.mark.parametrize(
    ("choice", "kept", "places"),
    [
        ("paper", "all", [1]),
        ("masks", "all", [1, 2, 3, 4]),
        ("all", "all", [0, 1, 2, 3, 4]),
        ("paper", "paper", [0]),
    ],
)
def test_chosen_tokens_stand_in_a_row(
    choice: TokenChoice, kept: KeptTokens, places: list[int]
) -> None:
    tokens = draw(2, 3, 5 if kept == "all" else 1, 8)
    chosen = chosen_tokens(tokens, choice, kept)
    assert torch.equal(chosen, torch.cat([tokens[:, :, place] for place in places], dim=-1))
    assert chosen_count(choice, tokens.shape[2], kept, of="x") == len(places)


def test_tokens_that_were_not_kept_are_not_chosen() -> None:
    with pytest.raises(InputError, match="x keeps only the paper's token of each region, and"):
        chosen_count("masks", 1, "paper", of="x")


def test_other_numbers_of_tokens_are_refused() -> None:
    head = make_head(region_tokens="all", region_token_count=5)
    with pytest.raises(InputError, match=r"region tokens must be \(B, R, 40\), got \(2, 4, 8\)"):
        head(draw(2, 4, 8), draw(2, 17, 16))
    with pytest.raises(ConfigError, match="region_tokens=paper is one token"):
        make_head(region_token_count=2)


# Boxes


def test_box_features_by_hand() -> None:
    """A box with its centre at (1/2, 1/4), as wide as the image and half as high."""
    found = box_features(torch.tensor([[[0.0, 0.0, 1.0, 0.5]]]))
    values = [0.5, 0.25, 1.0, 0.5]
    angles = [2**k * math.pi * value for value in values for k in range(8)]
    expected = [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
    torch.testing.assert_close(found[0, 0], torch.tensor(expected), atol=1e-4, rtol=0)


def test_boxes_are_normalised_by_their_own_image() -> None:
    boxes = torch.tensor([[[10.0, 0.0, 50.0, 20.0]], [[0.0, 30.0, 8.0, 60.0]]])
    sizes = torch.tensor([[40, 100], [60, 8]])  # height, width
    expected = torch.tensor([[[0.1, 0.0, 0.5, 0.5]], [[0.0, 0.5, 1.0, 1.0]]])
    torch.testing.assert_close(normalised_boxes(boxes, sizes), expected)


def test_a_box_is_added_to_its_regions_query() -> None:
    head, plain = make_head(box_geometry=True), make_head()
    regions, image, boxes = draw(2, 4, 8), draw(2, 17, 16, seed=2), draw_boxes(2, 4)
    queries = head.to_clip(regions) + head.box_embedding(box_features(boxes))
    expected = F.normalize(head.projector(head.decoder(queries, image, None)), dim=-1)
    torch.testing.assert_close(head(regions, image, None, boxes), expected)
    assert torch.equal(plain(regions, image, None, boxes), plain(regions, image))


@pytest.mark.parametrize(
    ("shape", "found"), [(None, "none"), ((2, 3, 4), r"\(2, 3, 4\)"), ((4, 4), r"\(4, 4\)")]
)
def test_boxes_that_are_missing_or_misshapen(shape: tuple[int, ...] | None, found: str) -> None:
    boxes = None if shape is None else torch.zeros(shape)
    message = rf"box_geometry needs the regions' boxes as \(2, 4, 4\), .*; got {found}"
    with pytest.raises(InputError, match=message):
        make_head(box_geometry=True)(draw(2, 4, 8), draw(2, 17, 16), None, boxes)


# The image's tokens


@given(st.integers(1, 40), st.sampled_from([0, 1]))
def test_tokens_are_a_grid_with_cls_or_without(side: int, cls: int) -> None:
    grid = token_grid(side**2 + cls)
    assert (grid.side, grid.cls, grid.tokens) == (side, cls, side**2 + cls)


@pytest.mark.parametrize(("tokens", "cls"), [(37, 1), (36, 0)])
@pytest.mark.parametrize("p", [1, 2, 3, 6])
def test_pooling_is_the_mean_of_squares(tokens: int, cls: int, p: int) -> None:
    image = draw(2, tokens, 16)
    patches = image[:, cls:].reshape(2, 6, 6, 16).permute(0, 3, 1, 2)
    expected = F.avg_pool2d(patches, p).flatten(2).transpose(1, 2)
    found = pooled_tokens(image, p)
    assert torch.equal(found[:, :cls], image[:, :cls])
    torch.testing.assert_close(found[:, cls:], expected)


def test_a_head_pools_before_keys_and_values() -> None:
    pooling, plain = make_head(image_pooling=2), make_head(image_tokens=5)
    regions, image = draw(2, 4, 8), draw(2, 17, 16, seed=2)
    torch.testing.assert_close(pooling(regions, image), plain(regions, pooled_tokens(image, 2)))


def test_sincos_positions_by_hand() -> None:
    found = sincos_positions(5, 8)  # CLS and 2 × 2 patches; rates 1 and 1/100
    for place, (x, y) in enumerate([(0, 0), (1, 0), (0, 1), (1, 1)], start=1):
        turns = [f(each * rate) for each in (x, y) for f in (np.sin, np.cos) for rate in (1, 0.01)]
        np.testing.assert_allclose(found[place], turns, atol=1e-7)
    assert torch.equal(found[0], torch.zeros(8))
    assert torch.equal(sincos_positions(4, 8), found[1:])


def attention_pair(memory_width: int) -> tuple[nn.MultiheadAttention, Attention, KeyProjection]:
    """PyTorch's attention to a memory of another width, and ours with its weights."""
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(
        16, 4, kdim=memory_width, vdim=memory_width, batch_first=True
    ).eval()
    nn.init.normal_(theirs.in_proj_bias)
    ours, keys = Attention(16, 4, 0.0, own_keys=False), KeyProjection(memory_width, 16, 4)
    bias = theirs.in_proj_bias
    with torch.no_grad():
        ours.in_proj_weight.copy_(theirs.q_proj_weight)
        ours.in_proj_bias.copy_(bias[:16])
        keys.weight.copy_(torch.cat([theirs.k_proj_weight, theirs.v_proj_weight]))
        keys.bias.copy_(bias[16:])
        ours.out_proj.load_state_dict(theirs.out_proj.state_dict())
    return theirs, ours, keys


def test_positions_are_in_the_keys_alone() -> None:
    """As if they had been added to the tokens before the keys, and not before the values."""
    theirs, ours, keys = attention_pair(24)
    query, memory, positions = draw(2, 3, 16), draw(2, 9, 24, seed=2), draw(9, 24, seed=3)
    expected, _ = theirs(query, memory + positions, memory, need_weights=False)
    torch.testing.assert_close(ours(query, keys(memory, positions)), expected)
    expected, _ = theirs(query, memory, memory, need_weights=False)
    torch.testing.assert_close(ours(query, keys(memory)), expected)


@pytest.mark.parametrize("kind", ["sincos", "learned"])
@pytest.mark.parametrize("p", [1, 2])
def test_a_heads_positions_are_those_of_the_tokens_that_are_left(kind: str, p: int) -> None:
    head, tokens = make_head(image_positions=kind, image_pooling=p), {1: 17, 2: 5}[p]
    positions = head.image_positions
    assert positions is not None
    if kind == "sincos":
        assert torch.equal(positions, sincos_positions(tokens, 16))
    assert positions.shape == (tokens, 16)
    regions, image = draw(2, 4, 8), draw(2, 17, 16, seed=2)
    memory = pooled_tokens(image, p)
    bare, plain = make_head(image_tokens=None), head.to_clip(regions)
    expected = head.decoder(plain, memory, None, positions)
    torch.testing.assert_close(head(regions, image), F.normalize(head.projector(expected), dim=-1))
    assert not torch.allclose(head(regions, image), bare(regions, memory), atol=1e-4)


def test_shared_keys_are_made_once_and_are_the_same_for_all_layers() -> None:
    shared, own = make_head(width=8, shared_keys=True), make_head(width=8)
    state = shared.state_dict()
    of_all = {part: state.pop(f"decoder.image_keys.{part}") for part in ("weight", "bias")}
    for number in range(3):
        for part, value in of_all.items():
            state[f"decoder.layers.{number}.image_keys.{part}"] = value
    own.load_state_dict(state, strict=True)
    calls: list[int] = []
    shared.decoder.image_keys.register_forward_hook(lambda *_: calls.append(1))
    regions, image = draw(2, 4, 8), draw(2, 17, 16, seed=2)
    torch.testing.assert_close(shared(regions, image), own(regions, image))
    assert calls == [1]


def test_another_width_goes_straight_to_keys_and_values() -> None:
    head = make_head(width=20)
    shapes = {name: tuple(value.shape) for name, value in head.state_dict().items()}
    assert shapes["to_clip.weight"] == (20, 8)
    assert shapes["projector.weight"] == (12, 20)
    assert shapes["decoder.layers.0.image_keys.weight"] == (40, 16)
    assert shapes["decoder.layers.0.multihead_attn.in_proj_weight"] == (20, 20)
    assert not [name for name, shape in shapes.items() if shape == (20, 16)]


# What does not fit


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 18}, "width must be a multiple of heads, got 18 and 4"),
        ({"image_pooling": 3}, "image_pooling=3 does not divide CLIP's grid of 4 × 4 patches"),
        ({"image_pooling": 2, "image_tokens": 18}, "square grid of patches, .* got 18"),
        ({"image_positions": "sincos", "image_tokens": 18}, "square grid of patches, .* got 18"),
        ({"image_positions": "sincos", "image_tokens": None}, "needs image_tokens"),
        ({"image_positions": "learned", "image_tokens": None}, "needs image_tokens"),
        ({"image_positions": "sincos", "image_width": 18, "heads": 2}, "a multiple of 4, got 18"),
        ({"image_positions": "cosine"}, "image_positions: .*'sincos' or 'learned'"),
        ({"region_tokens": "iou"}, "region_tokens: .*'paper', 'masks' or 'all'"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FusionConfig.parse({**SMALL, **options}, source="test")


@pytest.mark.parametrize("kind", ["sincos", "learned"])
def test_positions_of_another_number_of_tokens_are_refused(kind: str) -> None:
    head = make_head(image_positions=kind)
    with pytest.raises(InputError, match="has positions of 17 image tokens, got 26; use the CLIP"):
        head(draw(2, 4, 8), draw(2, 26, 16))


@pytest.mark.parametrize(("tokens", "message"), [(10, "does not divide .* 3 × 3"), (7, "got 7")])
def test_tokens_that_cannot_be_pooled_are_refused(tokens: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_head(image_pooling=2)(draw(2, 4, 8), draw(2, tokens, 16))


def test_none_may_be_written_out() -> None:
    """TOML has no word for it, and ``--set`` makes none of it."""

    class Run(Config):
        head: FusionOptions

    assert FusionOptions.parse({"image_positions": "none"}, source="x").image_positions is None
    assert Run.load(None, ["head.image_positions=none"]).head.image_positions is None


def test_a_residual_is_added_to_what_the_head_makes() -> None:
    plain = make_head()
    head = make_head(region_embedding="residual", region_embeddings="tokens")
    regions, image, embeddings = draw(2, 4, 8), draw(2, 17, 16, seed=2), draw_embeddings(2, 4)
    assert head.residual_weight.item() == 1
    with torch.no_grad():
        head.residual_weight.fill_(0.3)
    own = plain(regions, image)  # the same seed has the same other weights
    expected = F.normalize(own + 0.3 * embeddings, dim=-1)
    found = head(regions, image, None, None, embeddings)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_a_query_has_a_map_of_the_embedding() -> None:
    plain, head = make_head(), make_head(region_embedding="query", region_embeddings="tokens")
    regions, image, embeddings = draw(2, 4, 8), draw(2, 17, 16, seed=2), draw_embeddings(2, 4)
    nothing = head(regions, image, None, None, torch.zeros_like(embeddings))
    with torch.no_grad():
        head.from_text_space.bias.zero_()
    assert (head(regions, image, None, None, embeddings) - nothing).abs().max() > 1e-3
    zeros = head(regions, image, None, None, torch.zeros_like(embeddings))
    torch.testing.assert_close(zeros, plain(regions, image), atol=1e-6, rtol=0)


@pytest.mark.parametrize("given", [None, (2, 4, 11), (2, 3, 12)])
def test_embeddings_that_are_missing_or_of_another_shape(given: tuple[int, ...] | None) -> None:
    head = make_head(region_embedding="residual", region_embeddings="tokens")
    embeddings = None if given is None else torch.zeros(given)
    with pytest.raises(InputError, match=r"needs CLIP's embeddings .* \(2, 4, 12\); got"):
        head(draw(2, 4, 8), draw(2, 17, 16, seed=2), None, None, embeddings)


def test_a_shape_says_which_embeddings_its_head_takes() -> None:
    with pytest.raises(ConfigError, match="do not fit together"):
        make_head(region_embedding="residual")
    with pytest.raises(ConfigError, match="do not fit together"):
        make_head(region_embeddings="tokens")


def test_a_mask_is_a_part_of_the_query() -> None:
    """By hand: two linear maps of its 256 values around zero, added before the decoder."""
    plain, head = make_head(), make_head(mask_geometry=True)
    regions, image, masks = draw(2, 4, 8), draw(2, 17, 16, seed=2), draw_masks(2, 4)
    first, _, second = head.mask_embedding
    flat = masks.reshape(2, 4, 256) - 0.5
    query = head.to_clip(regions) + second(F.relu(first(flat)))
    decoded = head.decoder(query, image, None, None)
    expected = F.normalize(head.projector(decoded), dim=-1)
    found = head(regions, image, None, None, None, masks)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    assert torch.equal(head.to_clip.weight, plain.to_clip.weight)  # a seed's other weights stay
    with pytest.raises(InputError, match=r"needs the regions' masks as \(2, 4, 16, 16\)"):
        head(regions, image)
