"""What a head says of its attention: equal to a plain computation, and to what the head used."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from regionspot_core.errors import InputError
from regionspot_core.heads.custom import CustomHead
from regionspot_core.heads.fusion import FusionConfig, FusionHead
from regionspot_core.heads.shape import CustomShape

SMALL: dict[str, Any] = {
    "region_width": 8, "image_width": 16, "text_width": 12, "heads": 4, "ffn_width": 32
}  # fmt: skip
Values = dict[str, NDArray[np.float64]]


def draw(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def make_head(**options: Any) -> FusionHead:
    torch.manual_seed(0)
    return FusionHead(FusionConfig.parse({**SMALL, **options}, source="test")).eval()


def softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = np.exp(scores - scores.max())
    return shares / shares.sum()


def normalised(x: NDArray[np.float64], values: Values, name: str) -> NDArray[np.float64]:
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return np.asarray(scaled * values[f"{name}.weight"] + values[f"{name}.bias"])


def attended(
    x: NDArray[np.float64],
    keys: NDArray[np.float64],
    contents: NDArray[np.float64],
    values: Values,
    name: str,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """One query at a time, one attention head at a time: the sum, and the heads' mean weights."""
    width = x.shape[1]
    weight, bias = values[f"{name}.in_proj_weight"], values[f"{name}.in_proj_bias"]
    each = width // SMALL["heads"]
    sums, weights = np.zeros_like(x), np.zeros((len(x), len(keys)))
    for r, query in enumerate(x @ weight[:width].T + bias[:width]):
        for head in range(SMALL["heads"]):
            own = slice(head * each, head * each + each)
            shares = softmax(keys[:, own] @ query[own] / np.sqrt(each))
            sums[r, own] = shares @ contents[:, own]
            weights[r] += shares / SMALL["heads"]
    out = sums @ values[f"{name}.out_proj.weight"].T + values[f"{name}.out_proj.bias"]
    return out, weights


def keys_and_contents(
    memory: NDArray[np.float64], values: Values, name: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    width = memory.shape[1]
    weight, bias = values[f"{name}.in_proj_weight"], values[f"{name}.in_proj_bias"]
    projected = memory @ weight[width:].T + bias[width:]
    return projected[:, :width], projected[:, width:]


@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_it_is_what_the_formulas_give(norm: str, layer: int) -> None:
    head = make_head(norm=norm)
    tokens, image = draw(1, 3, 8), draw(1, 10, 16, seed=2)
    values = {name: value.double().numpy() for name, value in head.state_dict().items()}
    x = tokens[0].double().numpy() @ values["to_clip.weight"].T + values["to_clip.bias"]
    memory = image[0].double().numpy()
    for number in range(layer + 1):
        name = f"decoder.layers.{number}"
        to_norm = lambda y, which: normalised(y, values, f"{name}.norm{which}")  # noqa: E731, B023
        own = to_norm(x, 1) if norm == "pre" else x
        around = keys_and_contents(own, values, f"{name}.self_attn")
        x = x + attended(own, *around, values, f"{name}.self_attn")[0]
        x = x if norm == "pre" else to_norm(x, 1)
        seen = keys_and_contents(memory, values, f"{name}.multihead_attn")
        query = to_norm(x, 2) if norm == "pre" else x
        out, expected = attended(query, *seen, values, f"{name}.multihead_attn")
        x = x + out if norm == "pre" else to_norm(x + out, 2)
        asked = to_norm(x, 3) if norm == "pre" else x
        hidden = asked @ values[f"{name}.linear1.weight"].T + values[f"{name}.linear1.bias"]
        hidden = hidden.clip(min=0) @ values[f"{name}.linear2.weight"].T
        hidden += values[f"{name}.linear2.bias"]
        x = x + hidden if norm == "pre" else to_norm(x + hidden, 3)
    found = head.image_attention(tokens, image, layer=layer)
    assert found.shape == (1, 3, 10)
    np.testing.assert_allclose(found[0].detach().numpy(), expected, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"norm": "pre"},
        {"width": 24},
        {"shared_keys": True},
        {"image_positions": "sincos", "image_tokens": 17},
        {"image_positions": "learned", "image_tokens": 17, "image_pooling": 2},
    ],
    ids=str,
)
def test_the_weights_make_what_the_fused_kernel_made(options: dict[str, Any]) -> None:
    """The weights times the values, through the last map, are the layer's own output."""
    head = make_head(**options)
    tokens, image = draw(2, 3, 8), draw(2, 17, 16, seed=2)
    mask = torch.tensor([[True, True, False], [True, True, True]])
    kept: dict[str, Any] = {}
    attention = head.decoder.layers[-1].multihead_attn
    attention.register_forward_hook(lambda _, given, out: kept.update(given=given, out=out))
    head(tokens, image, mask)
    query, (keys, values) = kept["given"]
    weights = attention.weights(query, (keys, values))
    made = attention.out_proj((weights @ values).transpose(1, 2).flatten(2))
    torch.testing.assert_close(made, kept["out"])
    found = head.image_attention(tokens, image, mask, layer=head.attention_layers - 1)
    torch.testing.assert_close(found, weights.mean(1))
    torch.testing.assert_close(found.sum(-1), torch.ones(2, 3))
    assert found.shape[-1] == (5 if options.get("image_pooling") == 2 else 17)


def test_padding_changes_nobodys_attention() -> None:
    head, tokens, image = make_head(), draw(1, 3, 8), draw(1, 10, 16, seed=2)
    padded = torch.cat([tokens, 50 * draw(1, 2, 8, seed=3)], dim=1)
    mask = torch.tensor([[True, True, True, False, False]])
    found = head.image_attention(padded, image, mask, layer=2)[:, :3]
    torch.testing.assert_close(found, head.image_attention(tokens, image, layer=2))


def test_a_head_of_ones_own_has_none() -> None:
    head = CustomHead(CustomShape(kind="some.module:Head"), nn.Identity())
    assert head.attention_layers == 0
    with pytest.raises(InputError, match="does not tell its attention"):
        head.image_attention(draw(1, 1, 256), draw(1, 5, 768), layer=0)
