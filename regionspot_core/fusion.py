"""The fusion head: region tokens attend to image tokens and come out in CLIP's text space.

The paper's head (arXiv 2311.01373): a linear map to CLIP's width, post-norm transformer decoder
layers with plain keys and values (no positional terms), a final LayerNorm and a linear map to
the text width. Parameter names are those of ``torch.nn.TransformerDecoderLayer``, which the
published checkpoints use too.
"""

from __future__ import annotations

import math
from typing import Literal, cast

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import nn

from regionspot_core.config import Config
from regionspot_core.errors import InputError

NORM_EPSILON = 1e-7
"""Added to a region embedding's length before dividing by it."""


class FusionOptions(Config):
    """What a user chooses of a head. The defaults are the paper's."""

    layers: int = Field(3, ge=1)
    heads: int = Field(8, ge=1)
    ffn_width: int = Field(2048, ge=1)
    dropout: float = Field(0.1, ge=0, lt=1)
    norm: Literal["post", "pre"] = "post"
    """Whether a LayerNorm follows each sum, as in the paper, or comes before each branch."""
    activation: Literal["relu", "gelu"] = "relu"
    """Inside the feed-forward part."""
    logit_scale: Literal["clip", "learned"] = "clip"
    """``clip``: the frozen CLIP's (100 for OpenAI's). ``learned``: a scale and a bias that start
    at ``initial_scale`` and ``initial_bias``."""
    initial_scale: float = Field(14.0, gt=0)
    initial_bias: float = 0.0


class FusionConfig(FusionOptions):
    """The whole shape of a head; the widths follow from the frozen models."""

    region_width: int = Field(256, ge=1)
    """S, the SAM token width."""
    image_width: int = Field(768, ge=1)
    """C, the CLIP token width; also the decoder's."""
    text_width: int = Field(512, ge=1)
    """D, the class embeddings' width."""
    region_bias: bool = True
    """Whether the map from region tokens has a bias; a published file may lack it."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> FusionConfig:
        if self.image_width % self.heads:
            raise ValueError(
                f"image_width must be a multiple of heads, got {self.image_width} and {self.heads}"
            )
        return self


class FusionHead(nn.Module):
    """Region tokens (B, R, S) and image tokens (B, T, C) to region embeddings (B, R, D)."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.config = config
        self.to_clip = nn.Linear(config.region_width, config.image_width, bias=config.region_bias)
        self.decoder = Decoder(config)
        self.projector = nn.Linear(config.image_width, config.text_width)
        if config.logit_scale == "learned":
            self.log_scale = nn.Parameter(torch.tensor(math.log(config.initial_scale)))
            self.logit_bias = nn.Parameter(torch.tensor(config.initial_bias))

    def forward(
        self,
        region_tokens: torch.Tensor,
        image_tokens: torch.Tensor,
        region_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Embed regions in the class embeddings' space.

        Args:
            region_tokens: (B, R, S), SAM's token of each region.
            image_tokens: (B, T, C), CLIP's tokens of each image.
            region_mask: (B, R) bool, False where a row is padding; padding changes no real
                region's embedding. None: all rows are regions.

        Returns:
            (B, R, D), each of length 1 (a padded row's value means nothing).

        Raises:
            InputError: A shape does not fit the head.
        """
        self._check(region_tokens, image_tokens, region_mask)
        regions = self.decoder(self.to_clip(region_tokens), image_tokens, region_mask)
        embedded: torch.Tensor = self.projector(regions).float()
        length: torch.Tensor = torch.linalg.vector_norm(embedded, dim=-1, keepdim=True)
        return embedded / (length + NORM_EPSILON)

    def logits(
        self, region_embeddings: torch.Tensor, class_embeddings: torch.Tensor, clip_scale: float
    ) -> torch.Tensor:
        """Scaled cosines (B, R, K) of (B, R, D) with unit class embeddings (K, D).

        Args:
            region_embeddings: What :meth:`forward` returned.
            class_embeddings: The vocabulary's, each of length 1.
            clip_scale: The frozen CLIP's scale (``ClassBank.logit_scale``); a head with a
                learned scale uses its own instead.
        """
        cosines = region_embeddings @ class_embeddings.T
        if self.config.logit_scale == "learned":
            return cosines * self.log_scale.exp() + self.logit_bias
        return cosines * clip_scale

    def _check(
        self,
        region_tokens: torch.Tensor,
        image_tokens: torch.Tensor,
        region_mask: torch.Tensor | None,
    ) -> None:
        config, shape = self.config, tuple(region_tokens.shape)
        if region_tokens.ndim != 3 or shape[-1] != config.region_width:
            raise InputError(f"region tokens must be (B, R, {config.region_width}), got {shape}")
        image_shape = tuple(image_tokens.shape)
        if image_tokens.ndim != 3 or image_shape[::2] != (shape[0], config.image_width):
            raise InputError(
                f"image tokens must be ({shape[0]}, T, {config.image_width}), got {image_shape}"
            )
        if region_mask is not None and tuple(region_mask.shape) != shape[:2]:
            raise InputError(f"the region mask must be {shape[:2]}, got {tuple(region_mask.shape)}")


class Decoder(nn.Module):
    """The layers and the last LayerNorm."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.image_width)

    def forward(
        self, x_BRC: torch.Tensor, memory_BTC: torch.Tensor, mask_BR: torch.Tensor | None
    ) -> torch.Tensor:
        """Regions (B, R, C) attend to each other and to the memory (B, T, C)."""
        visible = None if mask_BR is None else visible_regions(mask_BR)
        for layer in self.layers:
            x_BRC = layer(x_BRC, memory_BTC, visible)
        return cast(torch.Tensor, self.norm(x_BRC))


class DecoderLayer(nn.Module):
    """``torch.nn.TransformerDecoderLayer``, with its parameter names."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        width = config.image_width
        self.norm_first = config.norm == "pre"
        self.activation = F.gelu if config.activation == "gelu" else F.relu
        self.self_attn = Attention(width, config.heads, config.dropout)
        self.multihead_attn = Attention(width, config.heads, config.dropout)
        self.linear1 = nn.Linear(width, config.ffn_width)
        self.linear2 = nn.Linear(config.ffn_width, width)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, x_BRC: torch.Tensor, memory_BTC: torch.Tensor, visible_B1RR: torch.Tensor | None
    ) -> torch.Tensor:
        """One layer; shapes as in :class:`Decoder`."""
        if self.norm_first:
            x_BRC = x_BRC + self._among_regions(self.norm1(x_BRC), visible_B1RR)
            x_BRC = x_BRC + self._to_image(self.norm2(x_BRC), memory_BTC)
            return x_BRC + self._feed_forward(self.norm3(x_BRC))
        x_BRC = self.norm1(x_BRC + self._among_regions(x_BRC, visible_B1RR))
        x_BRC = self.norm2(x_BRC + self._to_image(x_BRC, memory_BTC))
        return cast(torch.Tensor, self.norm3(x_BRC + self._feed_forward(x_BRC)))

    def _among_regions(
        self, x_BRC: torch.Tensor, visible_B1RR: torch.Tensor | None
    ) -> torch.Tensor:
        return cast(torch.Tensor, self.dropout(self.self_attn(x_BRC, x_BRC, visible_B1RR)))

    def _to_image(self, x_BRC: torch.Tensor, memory_BTC: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, self.dropout(self.multihead_attn(x_BRC, memory_BTC)))

    def _feed_forward(self, x_BRC: torch.Tensor) -> torch.Tensor:
        hidden = self.dropout(self.activation(self.linear1(x_BRC)))
        return cast(torch.Tensor, self.dropout(self.linear2(hidden)))


class Attention(nn.Module):
    """Multi-head attention through PyTorch's fused kernels, with ``nn.MultiheadAttention``'s
    parameters and initialisation.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(
        self,
        query_BNC: torch.Tensor,
        memory_BTC: torch.Tensor,
        visible: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Attend from (B, N, C) to (B, T, C); ``visible`` broadcasts to (B, heads, N, T)."""
        width = query_BNC.shape[-1]
        q = F.linear(query_BNC, self.in_proj_weight[:width], self.in_proj_bias[:width])
        kv = F.linear(memory_BTC, self.in_proj_weight[width:], self.in_proj_bias[width:])
        k, v = kv.chunk(2, dim=-1)
        attended = F.scaled_dot_product_attention(
            self._split(q),
            self._split(k),
            self._split(v),
            attn_mask=visible,
            dropout_p=self.dropout if self.training else 0.0,
        )
        return cast(torch.Tensor, self.out_proj(attended.transpose(1, 2).flatten(2)))

    def _split(self, x_BNC: torch.Tensor) -> torch.Tensor:
        batch, length, width = x_BNC.shape
        return x_BNC.view(batch, length, self.heads, width // self.heads).transpose(1, 2)


def visible_regions(mask_BR: torch.Tensor) -> torch.Tensor:
    """Which region may attend to which, (B, 1, R, R): real ones, and each row to itself.

    A padded row attends to itself alone, so that its softmax is defined, and no real region ever
    attends to it.
    """
    own = torch.eye(mask_BR.shape[1], dtype=torch.bool, device=mask_BR.device)
    return (mask_BR[:, None, :] | own)[:, None]
