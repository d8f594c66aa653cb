"""The fusion head: region tokens attend to image tokens and come out in CLIP's text space.

The paper's head (arXiv 2311.01373): a linear map to CLIP's width, post-norm transformer decoder
layers with plain keys and values (no positional terms), a final LayerNorm and a linear map to
the text width. Parameter names are those of ``torch.nn.TransformerDecoderLayer``, which the
published checkpoints use too; options of ours add names and change none of these.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from regionspot_core.errors import InputError
from regionspot_core.heads.fusion.box_geometry import BOX_FEATURES, box_features
from regionspot_core.heads.fusion.config import FusionConfig
from regionspot_core.heads.fusion.decoder import Decoder
from regionspot_core.heads.fusion.image_tokens import pooled_tokens, sincos_positions, token_grid
from regionspot_core.heads.head import Head
from regionspot_core.region_tokens import MASK_SIDE

NORM_EPSILON = 1e-7
"""Added to a region embedding's length before dividing by it."""
MASK_WIDTH = 256
"""Width between a mask's points and the query."""
POSITION_DEVIATION = 0.02
"""Deviation of learned positions at first, as a Vision Transformer's (arXiv 2010.11929)."""


class FusionHead(Head):
    """Region tokens (B, R, N·S) and image tokens (B, T, C) to region embeddings (B, R, D)."""

    config: FusionConfig

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.config = config
        width, seen = config.inner_width, config.region_token_count * config.region_width
        self.to_clip = nn.Linear(seen, width, bias=config.region_bias)
        self.decoder = Decoder(config)
        self.projector = nn.Linear(width, config.text_width)
        if config.logit_scale == "learned":
            self.log_scale = nn.Parameter(torch.tensor(math.log(config.initial_scale)))
            self.logit_bias = nn.Parameter(torch.tensor(config.initial_bias))
        # Last, so that the other weights of a seed are the same with and without them.
        if config.box_geometry:
            self.box_embedding = nn.Linear(BOX_FEATURES, width)
        if config.mask_geometry:
            self.mask_embedding = nn.Sequential(
                nn.Linear(MASK_SIDE**2, MASK_WIDTH), nn.ReLU(), nn.Linear(MASK_WIDTH, width)
            )
        if config.region_embedding == "query":
            self.from_text_space = nn.Linear(config.text_width, width)
        if config.region_embedding == "residual":
            self.residual_weight = nn.Parameter(torch.ones(()))
        self.image_positions = _first_positions(config)

    def forward(
        self,
        region_tokens: torch.Tensor,
        image_tokens: torch.Tensor,
        region_mask: torch.Tensor | None = None,
        boxes: torch.Tensor | None = None,
        clip_embeddings: torch.Tensor | None = None,
        region_masks: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Embed regions in the class embeddings' space.

        Args:
            region_tokens: (B, R, N·S), SAM's chosen tokens of each region in a row
                (:func:`~regionspot_core.region_tokens.chosen_tokens`).
            image_tokens: (B, T, C), CLIP's tokens of each image. They get no gradient.
            region_mask: (B, R) bool, False where a row is padding; padding changes no real
                region's embedding. None: all rows are regions.
            boxes: (B, R, 4) xyxy in 0 … 1 of the image; a head with ``box_geometry`` needs them,
                any other leaves them aside.
            clip_embeddings: (B, R, D), CLIP's own of each region, of length 1; a head with
                ``region_embedding`` needs them, any other leaves them aside.
            region_masks: (B, R, 16, 16) in 0 … 1, SAM's mask of each region inside its box; a
                head with ``mask_geometry`` needs them, any other leaves them aside.

        Returns:
            (B, R, D), each of length 1 (a padded row's value means nothing).

        Raises:
            InputError: If a shape does not fit the head, or an input that it needs is missing.
        """
        queries = self._queries(
            region_tokens, image_tokens, region_mask, boxes, clip_embeddings, region_masks
        )
        memory = pooled_tokens(image_tokens.detach(), self.config.image_pooling)
        regions = self.decoder(queries, memory, region_mask, self.image_positions)
        embedded: torch.Tensor = self.projector(regions).float()
        embedded = _of_length_one(embedded)
        if self.config.region_embedding == "residual" and clip_embeddings is not None:
            embedded = _of_length_one(embedded + self.residual_weight * clip_embeddings)
        return embedded

    @property
    def attention_layers(self) -> int:
        """Return the number of decoder layers: each attends to the image."""
        return self.config.layers

    def image_attention(
        self,
        region_tokens: torch.Tensor,
        image_tokens: torch.Tensor,
        region_mask: torch.Tensor | None = None,
        boxes: torch.Tensor | None = None,
        clip_embeddings: torch.Tensor | None = None,
        region_masks: torch.Tensor | None = None,
        *,
        layer: int,
    ) -> torch.Tensor:
        """Return a layer's weights of the pooled image tokens; see :meth:`Head.image_attention`."""
        queries = self._queries(
            region_tokens, image_tokens, region_mask, boxes, clip_embeddings, region_masks
        )
        memory = pooled_tokens(image_tokens, self.config.image_pooling)
        return self.decoder.image_attention(
            queries, memory, region_mask, self.image_positions, layer=layer
        )

    def _queries(
        self,
        region_tokens: torch.Tensor,
        image_tokens: torch.Tensor,
        region_mask: torch.Tensor | None,
        boxes: torch.Tensor | None,
        clip_embeddings: torch.Tensor | None,
        region_masks: torch.Tensor | None,
    ) -> torch.Tensor:
        """Check :meth:`forward`'s arguments, and return the regions (B, R, W) before any layer."""
        self._check(region_tokens, image_tokens, region_mask, boxes)
        self._check_more(region_tokens.shape[:2], clip_embeddings, region_masks)
        queries: torch.Tensor = self.to_clip(region_tokens)
        if self.config.box_geometry and boxes is not None:
            queries = queries + self.box_embedding(box_features(boxes))
        if self.config.mask_geometry and region_masks is not None:
            queries = queries + self.mask_embedding(region_masks.flatten(2) - 0.5)
        if self.config.region_embedding == "query" and clip_embeddings is not None:
            queries = queries + self.from_text_space(clip_embeddings)
        return queries

    def logits(
        self, region_embeddings: torch.Tensor, class_embeddings: torch.Tensor, clip_scale: float
    ) -> torch.Tensor:
        """Return scaled cosines (B, R, K) of (B, R, D) with unit class embeddings (K, D).

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
        boxes: torch.Tensor | None,
    ) -> None:
        config, shape = self.config, tuple(region_tokens.shape)
        if region_tokens.ndim != 3 or shape[-1] != self.to_clip.in_features:
            raise InputError(
                f"region tokens must be (B, R, {self.to_clip.in_features}), got {shape}"
            )
        image_shape = tuple(image_tokens.shape)
        if image_tokens.ndim != 3 or image_shape[::2] != (shape[0], config.image_width):
            raise InputError(
                f"image tokens must be ({shape[0]}, T, {config.image_width}), got {image_shape}"
            )
        if config.image_positions is not None and image_shape[1] != config.image_tokens:
            raise InputError(
                f"the head has positions of {config.image_tokens} image tokens, got "
                f"{image_shape[1]}; use the CLIP and the input size that it was trained with"
            )
        if region_mask is not None and tuple(region_mask.shape) != shape[:2]:
            raise InputError(f"the region mask must be {shape[:2]}, got {tuple(region_mask.shape)}")
        if config.box_geometry and (boxes is None or tuple(boxes.shape) != (*shape[:2], 4)):
            found = "none" if boxes is None else tuple(boxes.shape)
            raise InputError(
                f"a head with box_geometry needs the regions' boxes as {(*shape[:2], 4)}, xyxy in "
                f"0 … 1 of the image; got {found}"
            )

    def _check_more(
        self,
        regions: torch.Size,
        clip_embeddings: torch.Tensor | None,
        region_masks: torch.Tensor | None,
    ) -> None:
        config, wanted = self.config, (*regions, self.config.text_width)
        if config.region_embedding is not None and (
            clip_embeddings is None or tuple(clip_embeddings.shape) != wanted
        ):
            found = "none" if clip_embeddings is None else tuple(clip_embeddings.shape)
            raise InputError(
                f"a head with region_embedding needs CLIP's embeddings of the regions as {wanted}; "
                f"got {found}"
            )
        wanted_masks = (*regions, MASK_SIDE, MASK_SIDE)
        if config.mask_geometry and (
            region_masks is None or tuple(region_masks.shape) != wanted_masks
        ):
            found = "none" if region_masks is None else tuple(region_masks.shape)
            raise InputError(
                f"a head with mask_geometry needs the regions' masks as {wanted_masks}, 0 … 1; "
                f"got {found}"
            )


def _of_length_one(embedded: torch.Tensor) -> torch.Tensor:
    length: torch.Tensor = torch.linalg.vector_norm(embedded, dim=-1, keepdim=True)
    return embedded / (length + NORM_EPSILON)


def _first_positions(config: FusionConfig) -> torch.Tensor | None:
    """Return positions (T, C) of the pooled image tokens: a parameter, a constant, or None."""
    if config.image_positions is None or config.image_tokens is None:
        return None
    tokens = config.image_tokens
    if config.image_pooling > 1:
        tokens = token_grid(tokens).pooled(config.image_pooling).tokens
    if config.image_positions == "sincos":
        return nn.Buffer(sincos_positions(tokens, config.image_width), persistent=False)
    positions = torch.empty(tokens, config.image_width)
    return nn.Parameter(nn.init.normal_(positions, std=POSITION_DEVIATION))
