"""Pictures of single regions, and CLIP's embeddings of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
import torch

from regionspot_core.backbones.protocols import ImageTextEncoder
from regionspot_core.imaging.boxes import FloatArray
from regionspot_core.imaging.transforms import RGBImage, Size

CROPS_AT_ONCE = 64
EMBEDDED_SCALE = 1.2
"""Sides of an embedded crop as multiples of the box's: CLIP was trained on pictures of things with
some surroundings, and knows a thing that fills the picture worse (benchmarks/LOG.md)."""


def touched_pixels(box: FloatArray, size: Size) -> tuple[slice, slice]:
    """Return rows and columns of the pixels that a box touches, at least one."""
    height, width = size
    left = min(max(math.floor(box[0]), 0), width - 1)
    top = min(max(math.floor(box[1]), 0), height - 1)
    right = min(max(math.ceil(box[2]), left + 1), width)
    bottom = min(max(math.ceil(box[3]), top + 1), height)
    return slice(top, bottom), slice(left, right)


def box_crops(image: RGBImage, boxes: FloatArray, *, scale: float = 1.0) -> Iterator[RGBImage]:
    """Yield the pixels that each box touches, or one ``scale`` times as large about its centre.

    Args:
        image: uint8 (H, W, 3), RGB.
        boxes: (R, 4) xyxy, the image's pixels.
        scale: Sides of the crop as multiples of the box's; the image's edges cut it.
    """
    size = (image.shape[0], image.shape[1])
    exact = np.asarray(boxes, dtype=np.float64)
    margin = (exact[:, 2:] - exact[:, :2]) * (scale - 1) / 2
    larger = np.concatenate([exact[:, :2] - margin, exact[:, 2:] + margin], axis=1)
    return (image[touched_pixels(box, size)] for box in larger)


def embed_regions(encoder: ImageTextEncoder, image: RGBImage, boxes: FloatArray) -> torch.Tensor:
    """Return (R, D) embeddings of boxes by a pass over the crop of each, length 1, on the CPU.

    Args:
        encoder: CLIP.
        image: uint8 (H, W, 3), RGB.
        boxes: (R, 4) xyxy, the image's pixels.
    """
    return embed_crops(encoder, box_crops(image, boxes, scale=EMBEDDED_SCALE))


def embed_crops(encoder: ImageTextEncoder, crops: Iterable[RGBImage]) -> torch.Tensor:
    """Return (R, D) embeddings of R pictures, of length 1, on the CPU."""
    prepared = map(encoder.prepare, crops)
    embedded = [torch.zeros((0, encoder.text_width))]
    while some := list(islice(prepared, CROPS_AT_ONCE)):
        embedded.append(encoder.image_embeddings(some).cpu())
    return torch.cat(embedded)
