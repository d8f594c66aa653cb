"""From prompts in original pixels to what SAM's mask decoder takes."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from regionspot_core.backbones.runtime import upload
from regionspot_core.imaging.boxes import FloatArray
from regionspot_core.imaging.prompts import BoxPrompts, MaskPrompts, PointPrompts, Prompts
from regionspot_core.imaging.transforms import Resize, Size

MASK_LOGIT = 8.0
"""Inside a mask prompt; its negative outside. SAM's own answers, which it takes as mask prompts,
reach about this far."""
Encoded = tuple[torch.Tensor, torch.Tensor]
"""Sparse (N, P, S) and dense (N, S, g, g) embeddings. Without masks, the dense one is the same for
all regions and places: (1, S, 1, 1)."""


class SamPromptEncoder:
    """SAM's prompt encoder, in float32 whatever the precision of the rest.

    bfloat16 would round a position among SAM's 1024 pixels to 4 of them.
    """

    def __init__(
        self,
        model: Any,  # noqa: ANN401 - a segment_anything Sam; the package is untyped
        resize: Resize,
        device: torch.device,
    ) -> None:
        self._encoder = model.prompt_encoder
        self._no_mask = self._encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
        self._resize = resize
        self._device = device

    @cached_property
    def positions(self) -> torch.Tensor:
        """The position of each place of the image embedding, (1, S, g, g)."""
        positions: torch.Tensor = self._encoder.get_dense_pe()
        return positions

    def encode(self, prompts: Prompts, size: Size) -> Encoded:
        """Encode prompts on an image of ``size`` (height, width)."""
        if isinstance(prompts, BoxPrompts):
            return self.encode_boxes(self.scaled(prompts.boxes, size))
        if isinstance(prompts, MaskPrompts):
            boxes, masks = self.scaled(prompts.boxes, size), self._low_logits(prompts.masks, size)
            sparse, dense = self._encoder(points=None, boxes=boxes, masks=masks)
            return sparse, dense
        return self._encode_points(prompts, size)

    def encode_boxes(self, boxes_N4: torch.Tensor) -> Encoded:
        """Encode boxes that :meth:`scaled` gave."""
        sparse, _ = self._encoder(points=None, boxes=boxes_N4, masks=None)
        return sparse, self._no_mask

    def scaled(self, boxes: FloatArray, size: Size) -> torch.Tensor:
        """Scale boxes (N, 4) to the model's pixels."""
        scaled = self._resize.boxes(np.reshape(boxes, (-1, 4)), size)
        return upload(scaled, self._device, torch.float32)

    def _encode_points(self, prompts: PointPrompts, size: Size) -> Encoded:
        corners = np.concatenate([prompts.points, prompts.points], axis=-1)
        points = self.scaled(corners, size)[:, :2].view(*corners.shape[:2], 2)
        labels = upload(prompts.inside, self._device, torch.int64)
        sparse, _ = self._encoder(points=(points, labels), boxes=None, masks=None)
        return sparse, self._no_mask

    def _low_logits(self, masks_NHW: NDArray[np.bool_], size: Size) -> torch.Tensor:
        """Turn masks (N, H, W) into SAM's low-resolution logits (N, 1, 4g, 4g)."""
        height, width = self._encoder.mask_input_size
        side = self._resize.side
        target = [
            max(1, round(length * low / side))
            for length, low in zip(self._resize.target_size(size), (height, width), strict=True)
        ]
        masks = torch.as_tensor(masks_NHW, device=self._device)[:, None].float()
        shares = F.interpolate(masks, target, mode="area")  # of each low-resolution cell
        padded = F.pad(shares, (0, width - target[1], 0, height - target[0]))
        return (2 * padded - 1) * MASK_LOGIT
