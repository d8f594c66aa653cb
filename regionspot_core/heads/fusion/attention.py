"""Multi-head attention through PyTorch's fused kernels."""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

KeysValues = tuple[torch.Tensor, torch.Tensor]
"""(B, heads, T, W / heads) each"""


class Attention(nn.Module):
    """Attention with ``nn.MultiheadAttention``'s parameters and initialisation.

    Args:
        width: W.
        heads: Attention heads; they divide W.
        dropout: Dropout of the attention weights.
        own_keys: Whether it projects keys and values too, of a memory of width W. Otherwise it
            projects queries alone, and a :class:`KeyProjection` keys and values.
    """

    def __init__(self, width: int, heads: int, dropout: float, *, own_keys: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        rows = 3 * width if own_keys else width
        self.in_proj_weight = nn.Parameter(torch.empty(rows, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(rows))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def keys_values(
        self, memory_BTW: torch.Tensor, positions_TW: torch.Tensor | None = None
    ) -> KeysValues:
        """Return keys and values of a memory by the attention's own projection."""
        width = memory_BTW.shape[-1]
        weight, bias = self.in_proj_weight[width:], self.in_proj_bias[width:]
        return _keys_values(memory_BTW, weight, bias, positions_TW, self.heads)

    def forward(
        self,
        query_BNW: torch.Tensor,
        memory: KeysValues,
        visible: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Attend from (B, N, W) to T keys; ``visible`` broadcasts to (B, heads, N, T)."""
        attended = F.scaled_dot_product_attention(
            self._queries(query_BNW),
            *memory,
            attn_mask=visible,
            dropout_p=self.dropout if self.training else 0.0,
        )
        return cast(torch.Tensor, self.out_proj(attended.transpose(1, 2).flatten(2)))

    def weights(self, query_BNW: torch.Tensor, memory: KeysValues) -> torch.Tensor:
        """Return the weights (B, heads, N, T) that :meth:`forward` gives the values; rows sum to 1.

        The fused kernels do not return them, so they are computed anew, in float32.
        """
        q, keys = self._queries(query_BNW).float(), memory[0].float()
        return (q @ keys.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1)

    def _queries(self, query_BNW: torch.Tensor) -> torch.Tensor:
        width = query_BNW.shape[-1]
        q = F.linear(query_BNW, self.in_proj_weight[:width], self.in_proj_bias[:width])
        return _split(q, self.heads)


class KeyProjection(nn.Module):
    """Keys and values of image tokens: C → 2·W.

    Initialised as ``nn.MultiheadAttention``'s keys and values of another width are.
    """

    def __init__(self, image_width: int, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.weight = nn.Parameter(torch.empty(2 * width, image_width))
        self.bias = nn.Parameter(torch.zeros(2 * width))
        with torch.no_grad():
            for half in self.weight.chunk(2):
                nn.init.xavier_uniform_(half)

    def forward(
        self, memory_BTC: torch.Tensor, positions_TC: torch.Tensor | None = None
    ) -> KeysValues:
        """Return keys and values of a memory, with its positions in the keys."""
        return _keys_values(memory_BTC, self.weight, self.bias, positions_TC, self.heads)


def _keys_values(
    memory_BTC: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    positions_TC: torch.Tensor | None,
    heads: int,
) -> KeysValues:
    k, v = F.linear(memory_BTC, weight, bias).chunk(2, dim=-1)
    if positions_TC is not None:
        # W(x + p) = Wx + Wp: one row a token, whatever the batch, and the values stay without.
        k = k + F.linear(positions_TC, weight[: k.shape[-1]])
    return _split(k, heads), _split(v, heads)


def _split(x_BNW: torch.Tensor, heads: int) -> torch.Tensor:
    batch, length, width = x_BNW.shape
    return x_BNW.view(batch, length, heads, width // heads).transpose(1, 2)
