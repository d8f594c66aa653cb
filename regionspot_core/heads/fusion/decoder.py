"""The decoder's layers: regions attend to each other, then to the image."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from regionspot_core.heads.fusion.attention import Attention, KeyProjection, KeysValues
from regionspot_core.heads.fusion.config import FusionConfig


class Decoder(nn.Module):
    """The layers and the last LayerNorm."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        width = config.inner_width
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.image_keys: KeyProjection | None = None
        if config.shared_keys:
            self.image_keys = KeyProjection(config.image_width, width, config.heads)

    def forward(
        self,
        x_BRW: torch.Tensor,
        memory_BTC: torch.Tensor,
        mask_BR: torch.Tensor | None,
        positions_TC: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Let regions (B, R, W) attend to each other and to the memory (B, T, C)."""
        visible = None if mask_BR is None else visible_regions(mask_BR)
        shared = None if self.image_keys is None else self.image_keys(memory_BTC, positions_TC)
        for layer in cast(Iterable[DecoderLayer], self.layers):
            image = shared or layer.keys_values(memory_BTC, positions_TC)
            x_BRW = layer(x_BRW, image, visible)
        return cast(torch.Tensor, self.norm(x_BRW))

    def image_attention(
        self,
        x_BRW: torch.Tensor,
        memory_BTC: torch.Tensor,
        mask_BR: torch.Tensor | None,
        positions_TC: torch.Tensor | None = None,
        *,
        layer: int,
    ) -> torch.Tensor:
        """Return the weights (B, R, T) of the memory in a layer, counted from 0: its heads' mean.

        The other arguments are :meth:`forward`'s.
        """
        visible = None if mask_BR is None else visible_regions(mask_BR)
        shared = None if self.image_keys is None else self.image_keys(memory_BTC, positions_TC)
        *before, asked = cast(Iterable[DecoderLayer], self.layers[: layer + 1])
        for each in before:
            image = shared or each.keys_values(memory_BTC, positions_TC)
            x_BRW = each(x_BRW, image, visible)
        image = shared or asked.keys_values(memory_BTC, positions_TC)
        return asked.image_attention(x_BRW, image, visible)


class DecoderLayer(nn.Module):
    """``torch.nn.TransformerDecoderLayer``, with its parameter names."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        width, heads, dropout = config.inner_width, config.heads, config.dropout
        own_keys = width == config.image_width and not config.shared_keys
        self.norm_first = config.norm == "pre"
        self.activation = F.gelu if config.activation == "gelu" else F.relu
        self.self_attn = Attention(width, heads, dropout)
        self.multihead_attn = Attention(width, heads, dropout, own_keys=own_keys)
        self.linear1 = nn.Linear(width, config.ffn_width)
        self.linear2 = nn.Linear(config.ffn_width, width)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.dropout = nn.Dropout(dropout)
        self.image_keys: KeyProjection | None = None
        if not (own_keys or config.shared_keys):
            self.image_keys = KeyProjection(config.image_width, width, heads)

    def keys_values(
        self, memory_BTC: torch.Tensor, positions_TC: torch.Tensor | None
    ) -> KeysValues:
        """Return the layer's own keys and values of the image tokens."""
        if self.image_keys is not None:
            return cast(KeysValues, self.image_keys(memory_BTC, positions_TC))
        return self.multihead_attn.keys_values(memory_BTC, positions_TC)

    def forward(
        self, x_BRW: torch.Tensor, image: KeysValues, visible_B1RR: torch.Tensor | None
    ) -> torch.Tensor:
        """Run the layer on regions (B, R, W), an image's keys and values, and a mask."""
        x_BRW = self._with_regions(x_BRW, visible_B1RR)
        if self.norm_first:
            x_BRW = x_BRW + self._to_image(self.norm2(x_BRW), image)
            return x_BRW + self._feed_forward(self.norm3(x_BRW))
        x_BRW = self.norm2(x_BRW + self._to_image(x_BRW, image))
        return cast(torch.Tensor, self.norm3(x_BRW + self._feed_forward(x_BRW)))

    def image_attention(
        self, x_BRW: torch.Tensor, image: KeysValues, visible_B1RR: torch.Tensor | None
    ) -> torch.Tensor:
        """Return the weights (B, R, T) of the image tokens in :meth:`forward`: the heads' mean."""
        x_BRW = self._with_regions(x_BRW, visible_B1RR)
        queries_BRW = self.norm2(x_BRW) if self.norm_first else x_BRW
        return self.multihead_attn.weights(queries_BRW, image).mean(1)

    def _with_regions(self, x_BRW: torch.Tensor, visible_B1RR: torch.Tensor | None) -> torch.Tensor:
        """Return the regions after they have attended to each other."""
        if self.norm_first:
            return x_BRW + self._among_regions(self.norm1(x_BRW), visible_B1RR)
        return cast(torch.Tensor, self.norm1(x_BRW + self._among_regions(x_BRW, visible_B1RR)))

    def _among_regions(
        self, x_BRW: torch.Tensor, visible_B1RR: torch.Tensor | None
    ) -> torch.Tensor:
        attended = self.self_attn(x_BRW, self.self_attn.keys_values(x_BRW), visible_B1RR)
        return cast(torch.Tensor, self.dropout(attended))

    def _to_image(self, x_BRW: torch.Tensor, image: KeysValues) -> torch.Tensor:
        return cast(torch.Tensor, self.dropout(self.multihead_attn(x_BRW, image)))

    def _feed_forward(self, x_BRW: torch.Tensor) -> torch.Tensor:
        hidden = self.dropout(self.activation(self.linear1(x_BRW)))
        return cast(torch.Tensor, self.dropout(self.linear2(hidden)))


def visible_regions(mask_BR: torch.Tensor) -> torch.Tensor:
    """Return which region may attend to which, (B, 1, R, R): to real ones, and each row to itself.

    A padded row attends to itself alone, so that its softmax is defined, and no real region ever
    attends to it.
    """
    own = torch.eye(mask_BR.shape[1], dtype=torch.bool, device=mask_BR.device)
    return (mask_BR[:, None, :] | own)[:, None]
