"""What a read of the cache gives."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch


@dataclass(frozen=True)
class FeatureBatch:
    """The features of B images; R is the largest region count among them, at least 1."""

    image_tokens: torch.Tensor
    """(B, T, C) float16"""
    region_tokens: torch.Tensor
    """(B, R, M, S) float16, zeros where padded"""
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

    def as_float(self, device: torch.device) -> FeatureBatch:
        """Return the same on a device, its tokens as float32."""
        moved = {field.name: getattr(self, field.name).to(device) for field in fields(self)}
        for name in ("image_tokens", "region_tokens"):
            moved[name] = moved[name].float()
        return FeatureBatch(**moved)

    @property
    def nbytes(self) -> int:
        """Bytes of all its tensors."""
        return sum(getattr(self, field.name).nbytes for field in fields(self))
