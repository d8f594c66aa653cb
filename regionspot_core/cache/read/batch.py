"""What a read of the cache gives."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch

PER_IMAGE = ("image_tokens", "image_ids", "image_sizes", "negative_classes")
"""The batch's tensors that have no region axis."""
FILL = {"classes": -1, "annotation_ids": -1}
"""Values of padding; other tensors have 0 there."""


@dataclass(frozen=True)
class FeatureBatch:
    """The features of B images; R is the largest region count among them, at least 1."""

    image_tokens: torch.Tensor
    """(B, T, C) float16"""
    region_tokens: torch.Tensor
    """(B, R, M, S) float16, zeros where padded"""
    region_embeddings: torch.Tensor
    """(B, R, D) float16, CLIP's own of each region, of length 1, zeros where padded; D = 0 where
    the cache keeps none"""
    region_masks: torch.Tensor
    """(B, R, 16, 16) uint8, SAM's mask of each region inside its box, 255 on it, zeros where
    padded; (B, R, 0, 0) where the cache keeps none"""
    mask: torch.Tensor
    """(B, R) bool, True where there is a region"""
    classes: torch.Tensor
    """(B, R) int64 class indices, -1 where padded"""
    boxes: torch.Tensor
    """(B, R, 4) float32 xyxy in original pixels, of the view that was read; zeros where padded"""
    annotation_ids: torch.Tensor
    """(B, R) int64, -1 where padded"""
    image_ids: torch.Tensor
    """(B,) int64"""
    image_sizes: torch.Tensor
    """(B, 2) int64, height and width in original pixels"""
    negative_classes: torch.Tensor
    """(B, N) int64 classes that an image is known not to show, -1 where padded. N is the longest
    list of the cache; 0 where its data set has none"""

    def __len__(self) -> int:
        return len(self.image_ids)

    def images(self, at: slice) -> FeatureBatch:
        """Return a batch of some of its images; R stays."""
        return FeatureBatch(**{field.name: getattr(self, field.name)[at] for field in fields(self)})

    def only(self, kept_BR: torch.Tensor) -> FeatureBatch:
        """Return the same images with some of their regions, as if they had no others.

        Args:
            kept_BR: (B, R) bool, True for the regions that stay.
        """
        kept = self.mask & kept_BR
        width = max(1, int(kept.sum(1).max())) if len(kept) else 1
        place = (~kept).byte().argsort(dim=1, stable=True)[:, :width]
        image, real = torch.arange(len(kept))[:, None], kept.gather(1, place)
        values = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name not in PER_IMAGE:
                value = value[image, place]
                value[~real] = FILL.get(field.name, 0)
            values[field.name] = value
        return FeatureBatch(**values)

    def as_float(self, device: torch.device) -> FeatureBatch:
        """Return the same on a device, its tokens as float32."""
        moved = {field.name: getattr(self, field.name).to(device) for field in fields(self)}
        for name in ("image_tokens", "region_tokens", "region_embeddings"):
            moved[name] = moved[name].float()
        return FeatureBatch(**moved)

    @property
    def nbytes(self) -> int:
        """Bytes of all its tensors."""
        return sum(getattr(self, field.name).nbytes for field in fields(self))
