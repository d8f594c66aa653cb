"""Attention in which each region's token sees itself and the patches of its region.

The projections are those of a tower's own attention modules, PyTorch's or timm's; the image's
tokens go through the tower as always and know nothing of regions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

REGIONS_AT_ONCE = 256
"""Regions of an image whose attention is held together: a region's depends on no other's."""

QUERIES, KEYS, VALUES = range(3)


class LinearMap(NamedTuple):
    """Weight (H·d, C) and bias (H·d,) of a projection to all heads, side by side."""

    weight: torch.Tensor
    bias: torch.Tensor | None


class Projections(ABC):
    """An attention module's linear maps, to heads and back: (B, N, C) to (B, H, N, d)."""

    def __init__(self, module: Any) -> None:  # noqa: ANN401 - timm is untyped
        self._module = module
        self._heads = int(module.num_heads)

    @abstractmethod
    def _map(self, which: int) -> LinearMap:
        """Return the map to queries, keys or values."""

    @abstractmethod
    def _output(self, joined: torch.Tensor) -> torch.Tensor:
        """Map what the heads gathered, side by side, to tokens (B, N, C)."""

    @property
    def head_width(self) -> int:
        """Return d, values of a head."""
        return len(self._map(QUERIES).weight) // self._heads

    @property
    def has_linear_keys(self) -> bool:
        """Return whether keys are a linear map of tokens: no norm comes after the projection."""
        return isinstance(getattr(self._module, "k_norm", None), nn.Identity | None)

    def queries(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the scaled queries of tokens without a place."""
        queries = self._normed("q_norm", self._split(tokens, QUERIES))
        scaled: torch.Tensor = queries * self.head_width**-0.5
        return scaled

    def keys(self, tokens: torch.Tensor, rope: torch.Tensor | None = None) -> torch.Tensor:
        """Return the keys of tokens; of patches, with their rotary positions if given."""
        keys = self._normed("k_norm", self._split(tokens, KEYS))
        if rope is None:
            return keys
        from timm.layers.pos_embed_sincos import apply_rot_embed_cat

        half = getattr(self._module, "rotate_half", False)
        rotated: torch.Tensor = apply_rot_embed_cat(keys, rope, half=half)
        return rotated.type_as(keys)

    def values(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the values of tokens."""
        return self._split(tokens, VALUES)

    def queries_of_tokens(self, queries_BHRd: torch.Tensor) -> torch.Tensor:
        """Return (B, H, R, C): queries whose products with tokens order them as keys' would.

        q · (W k + b) is (q W) · k but for q · b, which is the same for every token, so that a
        softmax over tokens does not see it.
        """
        return queries_BHRd @ self._by_heads(self._map(KEYS).weight)

    def values_of_means(self, means_BHRC: torch.Tensor) -> torch.Tensor:
        """Return (B, H, R, d): each head's values of weighted means of tokens."""
        weight, bias = self._map(VALUES)
        values = means_BHRC @ self._by_heads(weight).transpose(-2, -1)
        return values if bias is None else values + bias.view(self._heads, 1, -1)

    def output(self, heads_BHNd: torch.Tensor) -> torch.Tensor:
        """Return tokens (B, N, C) of what the heads gathered."""
        return self._output(heads_BHNd.transpose(1, 2).flatten(2))

    def _split(self, tokens: torch.Tensor, which: int) -> torch.Tensor:
        projected = F.linear(tokens, *self._map(which))
        width = projected.shape[-1] // self._heads
        return projected.reshape(*projected.shape[:2], self._heads, width).transpose(1, 2)

    def _by_heads(self, weight: torch.Tensor) -> torch.Tensor:
        """Return a map's weight as (H, d, C)."""
        return weight.reshape(self._heads, -1, weight.shape[-1])

    def _normed(self, name: str, heads: torch.Tensor) -> torch.Tensor:
        norm = getattr(self._module, name, None)
        return heads if norm is None else norm(heads)


class TorchProjections(Projections):
    """Maps of PyTorch's own module, as open_clip's blocks and its pooling have it."""

    def _map(self, which: int) -> LinearMap:
        module = self._module
        if module.in_proj_weight is None:
            weight = (module.q_proj_weight, module.k_proj_weight, module.v_proj_weight)[which]
        else:
            weight = module.in_proj_weight.chunk(3)[which]
        return LinearMap(weight, _chunk(module.in_proj_bias, 3, which))

    def _output(self, joined: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self._module.out_proj(joined)
        return out


class TimmProjections(Projections):
    """Maps of a block of timm's: one for queries, keys and values, or one each."""

    def _map(self, which: int) -> LinearMap:
        module = self._module
        if module.qkv is None:
            own = (module.q_proj, module.k_proj, module.v_proj)[which]
            return LinearMap(own.weight, own.bias)
        bias = module.qkv.bias
        if getattr(module, "q_bias", None) is not None:  # EVA's
            bias = torch.cat((module.q_bias, module.k_bias, module.v_bias))
        return LinearMap(module.qkv.weight.chunk(3)[which], _chunk(bias, 3, which))

    def _output(self, joined: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self._module.proj(self._module.norm(joined))
        return out


class TimmPoolProjections(Projections):
    """Maps of timm's pooling by a learned query."""

    def _map(self, which: int) -> LinearMap:
        module = self._module
        if which == QUERIES:
            return LinearMap(module.q.weight, module.q.bias)
        place = which - KEYS
        return LinearMap(module.kv.weight.chunk(2)[place], _chunk(module.kv.bias, 2, place))

    def _output(self, joined: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self._module.proj(joined)
        return out


def attention_projections(module: nn.Module) -> Projections:
    """Return the maps of an attention module of a tower's block."""
    if isinstance(module, nn.MultiheadAttention):
        return TorchProjections(module)
    return TimmProjections(module)


def attend(
    attention: Projections,
    query_tokens: torch.Tensor,
    patches_BPC: torch.Tensor,
    seen_BRP: torch.Tensor,
    *,
    own_BRC: torch.Tensor | None,
    rope: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return (B, R, C): what each region's query gathers, after the output projection.

    Args:
        attention: The module's maps.
        query_tokens: (B, R, C), the normed tokens that ask.
        patches_BPC: Normed patch tokens of the images.
        seen_BRP: bool, the patches of each region.
        own_BRC: Normed token of each region, which it sees beside its patches; None where a
            region has none.
        rope: Rotary positions of the patches.
    """
    # Products with C values in each of H heads, or the projections of all patches: the former are
    # fewer up to C / H = d regions.
    few = query_tokens.shape[1] <= attention.head_width
    if few and rope is None and attention.has_linear_keys:
        heads = _attend_to_tokens(attention, query_tokens, patches_BPC, ~seen_BRP, own_BRC)
        return attention.output(heads)
    keys, values = attention.keys(patches_BPC, rope), attention.values(patches_BPC)
    gathered = []
    for first in range(0, max(1, query_tokens.shape[1]), REGIONS_AT_ONCE):
        some = slice(first, first + REGIONS_AT_ONCE)
        own = None if own_BRC is None else own_BRC[:, some]
        own_pair = None if own is None else (attention.keys(own), attention.values(own))
        queries, hidden = attention.queries(query_tokens[:, some]), ~seen_BRP[:, None, some]
        gathered.append(_gather(queries, keys, values, hidden, own_pair))
    return attention.output(torch.cat(gathered, dim=2))


def _attend_to_tokens(
    attention: Projections,
    query_tokens: torch.Tensor,
    patches_BPC: torch.Tensor,
    hidden_BRP: torch.Tensor,
    own_BRC: torch.Tensor | None,
) -> torch.Tensor:
    """Return (B, H, R, d): what heads gather, the projections of patches moved to the regions.

    Each head's queries become queries of the tokens themselves, and the values are taken of the
    tokens' weighted mean. All heads ask the same tokens, so they are rows of one.
    """
    queries_BHRC = attention.queries_of_tokens(attention.queries(query_tokens))
    heads = queries_BHRC.shape[1]
    tokens = patches_BPC[:, None].to(queries_BHRC.dtype)
    own = None if own_BRC is None else own_BRC.repeat(1, heads, 1)[:, None]
    hidden = hidden_BRP.repeat(1, heads, 1)[:, None]
    rows = queries_BHRC.flatten(1, 2)[:, None]
    means = _gather(rows, tokens, tokens, hidden, None if own is None else (own, own))
    return attention.values_of_means(means.reshape(queries_BHRC.shape))


def _gather(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    hidden: torch.Tensor,
    own: tuple[torch.Tensor, torch.Tensor] | None,
) -> torch.Tensor:
    """Return (B, H, R, d): the values of the patches that are not hidden, weighed by a softmax.

    Args:
        queries: (B, H, R, d), scaled.
        keys: (B, H, P, d), of the patches.
        values: (B, H, P, d).
        hidden: bool, (B, 1, R, P).
        own: Key and value of each region's own token, (B, H, R, d); None where it has none.
    """
    logits = (queries @ keys.transpose(-2, -1)).float().masked_fill(hidden, -torch.inf)
    if own is None:
        # A padded row sees nothing: its softmax is no number.
        return logits.softmax(-1).masked_fill(hidden, 0).to(values.dtype) @ values
    own_keys, own_values = own
    of_own = (queries * own_keys).sum(-1, keepdim=True).float()
    weights = torch.cat([of_own, logits], dim=-1).softmax(-1).to(values.dtype)
    return weights[..., :1] * own_values + weights[..., 1:] @ values


def _chunk(bias: torch.Tensor | None, pieces: int, which: int) -> torch.Tensor | None:
    return None if bias is None else bias.chunk(pieces)[which]
