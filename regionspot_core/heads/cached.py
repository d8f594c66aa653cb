"""A head on cached batches: its inputs, and the embeddings that come out."""

from __future__ import annotations

from typing import NamedTuple

import torch

from regionspot_core.cache.read.batch import FeatureBatch
from regionspot_core.heads.fusion import normalised_boxes
from regionspot_core.heads.head import Head
from regionspot_core.heads.shape import HeadNeeds
from regionspot_core.region_tokens import KeptTokens, chosen_tokens


def embed(
    head: Head, batch: FeatureBatch, kept: KeptTokens, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return region embeddings (B, R, D) of a cached batch and its mask (B, R), on the device.

    ``kept`` is what the cache keeps of SAM's tokens.
    """
    inputs = head_inputs(head.config.needs, batch, kept, device)
    return head(*inputs), inputs.mask


class HeadInputs(NamedTuple):
    """Arguments of a head's ``forward``, on its device."""

    region_tokens: torch.Tensor
    """(B, R, N·S)"""
    image_tokens: torch.Tensor
    """(B, T, C)"""
    mask: torch.Tensor
    """(B, R)"""
    boxes: torch.Tensor | None
    """(B, R, 4) xyxy in 0…1 of the image, for a head that needs them."""
    clip_embeddings: torch.Tensor | None
    """(B, R, D), CLIP's own of each region, for a head that needs them."""
    region_masks: torch.Tensor | None
    """(B, R, 16, 16) in 0 … 1, for a head that needs them."""


def head_inputs(
    needs: HeadNeeds, batch: FeatureBatch, kept: KeptTokens, device: torch.device
) -> HeadInputs:
    """Return a head's inputs out of a cached batch."""
    boxes = None
    if needs.boxes:
        boxes = normalised_boxes(batch.boxes, batch.image_sizes).to(device)
    clip_embeddings = None
    if needs.region_embeddings:
        clip_embeddings = batch.region_embeddings.to(device).float()
    region_masks = None
    if needs.region_masks:
        region_masks = batch.region_masks.to(device).float() / 255
    seen = chosen_tokens(batch.region_tokens, needs.region_tokens, kept)
    return HeadInputs(
        region_tokens=seen.to(device).float(),
        image_tokens=batch.image_tokens.to(device).float(),
        mask=batch.mask.to(device),
        boxes=boxes,
        clip_embeddings=clip_embeddings,
        region_masks=region_masks,
    )
