"""A region's box as the head sees it: normalised, then as Fourier features."""

from __future__ import annotations

import math

import torch

OCTAVES = 8
"""Frequencies of a coordinate: the finest turns once in 1/128 of the image, 3 pixels of 336."""
BOX_FEATURES = 4 * 2 * OCTAVES


def normalised_boxes(boxes_BR4: torch.Tensor, sizes_B2: torch.Tensor) -> torch.Tensor:
    """Return boxes in 0 … 1 of their images, which is the frame of CLIP's squashed square.

    Args:
        boxes_BR4: xyxy in original pixels.
        sizes_B2: (height, width) of each image, in original pixels.
    """
    scale = sizes_B2.to(boxes_BR4.device)[:, None, [1, 0, 1, 0]]
    return boxes_BR4 / scale


def box_features(boxes_BR4: torch.Tensor) -> torch.Tensor:
    """Return NeRF's encoding (B, R, 64) of the centre, width and height of normalised xyxy boxes.

    For each value v the sines and cosines of 2^k π v, k = 0 … 7 (arXiv 2003.08934, equation 4).
    """
    low, high = boxes_BR4.float().chunk(2, dim=-1)
    values = torch.cat([(low + high) / 2, high - low], dim=-1)
    rates = math.pi * 2.0 ** torch.arange(OCTAVES, device=values.device)
    angles = (values[..., None] * rates).flatten(-2)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
