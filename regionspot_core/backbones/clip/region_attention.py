"""Attention in which each region's token sees itself and the patches of its region.

The projections are those of a tower's own attention modules, PyTorch's or timm's; the image's
tokens go through the tower as always and know nothing of regions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

REGIONS_AT_ONCE = 256
"""Regions of an image whose attention is held together: a region's depends on no other's."""

QUERIES, KEYS, VALUES = range(3)


class Projections(ABC):
    """An attention module's linear maps, to heads and back: (B, N, C) to (B, heads, N, d)."""

    def __init__(self, module: Any) -> None:  # noqa: ANN401 - timm is untyped
        self._module = module
        self._heads = int(module.num_heads)

    @abstractmethod
    def _project(self, tokens: torch.Tensor, which: int) -> torch.Tensor:
        """Map tokens (B, N, C) to all heads' queries, keys or values, side by side."""

    @abstractmethod
    def _output(self, joined: torch.Tensor) -> torch.Tensor:
        """Map what the heads gathered, side by side, to tokens (B, N, C)."""

    def queries(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the queries of tokens without a place."""
        return self._normed("q_norm", self._split(tokens, QUERIES))

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

    def output(self, heads_BHND: torch.Tensor) -> torch.Tensor:
        """Return tokens (B, N, C) of what the heads gathered."""
        return self._output(heads_BHND.transpose(1, 2).flatten(2))

    def _split(self, tokens: torch.Tensor, which: int) -> torch.Tensor:
        projected = self._project(tokens, which)
        width = projected.shape[-1] // self._heads
        heads = projected.reshape(*projected.shape[:2], self._heads, width)
        return heads.transpose(1, 2)

    def _normed(self, name: str, heads: torch.Tensor) -> torch.Tensor:
        norm = getattr(self._module, name, None)
        return heads if norm is None else norm(heads)


class TorchProjections(Projections):
    """Maps of PyTorch's own module, as open_clip's blocks and its pooling have it."""

    def _project(self, tokens: torch.Tensor, which: int) -> torch.Tensor:
        module = self._module
        if module.in_proj_weight is None:
            weight = (module.q_proj_weight, module.k_proj_weight, module.v_proj_weight)[which]
        else:
            weight = module.in_proj_weight.chunk(3)[which]
        return F.linear(tokens, weight, _chunk(module.in_proj_bias, 3, which))

    def _output(self, joined: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self._module.out_proj(joined)
        return out


class TimmProjections(Projections):
    """Maps of a block of timm's: one for queries, keys and values, or one each."""

    def _project(self, tokens: torch.Tensor, which: int) -> torch.Tensor:
        module = self._module
        if module.qkv is None:
            maps = (module.q_proj, module.k_proj, module.v_proj)
            projected: torch.Tensor = maps[which](tokens)
            return projected
        bias = module.qkv.bias
        if getattr(module, "q_bias", None) is not None:  # EVA's
            bias = torch.cat((module.q_bias, module.k_bias, module.v_bias))
        return F.linear(tokens, module.qkv.weight.chunk(3)[which], _chunk(bias, 3, which))

    def _output(self, joined: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self._module.proj(self._module.norm(joined))
        return out


class TimmPoolProjections(Projections):
    """Maps of timm's pooling by a learned query."""

    def _project(self, tokens: torch.Tensor, which: int) -> torch.Tensor:
        module = self._module
        if which == QUERIES:
            query: torch.Tensor = module.q(tokens)
            return query
        place = which - KEYS
        weight = module.kv.weight.chunk(2)[place]
        return F.linear(tokens, weight, _chunk(module.kv.bias, 2, place))

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
    keys, values = attention.keys(patches_BPC, rope), attention.values(patches_BPC)
    gathered = []
    for first in range(0, max(1, query_tokens.shape[1]), REGIONS_AT_ONCE):
        some = slice(first, first + REGIONS_AT_ONCE)
        queries = attention.queries(query_tokens[:, some])
        queries = queries * queries.shape[-1] ** -0.5
        hidden = ~seen_BRP[:, None, some]
        logits = (queries @ keys.transpose(-2, -1)).float().masked_fill(hidden, -torch.inf)
        if own_BRC is None:
            # A padded row sees nothing: its softmax is no number.
            weights = logits.softmax(-1).masked_fill(hidden, 0).to(values.dtype)
            gathered.append(weights @ values)
            continue
        own = own_BRC[:, some]
        of_own = (queries * attention.keys(own)).sum(-1, keepdim=True).float()
        weights = torch.cat([of_own, logits], dim=-1).softmax(-1).to(values.dtype)
        gathered.append(weights[..., :1] * attention.values(own) + weights[..., 1:] @ values)
    return attention.output(torch.cat(gathered, dim=2))


def _chunk(bias: torch.Tensor | None, pieces: int, which: int) -> torch.Tensor | None:
    return None if bias is None else bias.chunk(pieces)[which]
