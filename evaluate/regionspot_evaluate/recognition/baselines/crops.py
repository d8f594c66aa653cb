"""Pictures of single regions, and CLIP's embeddings of them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import islice

import torch

from regionspot_core.backbones.protocols import ImageTextEncoder
from regionspot_core.imaging.boxes import FloatArray
from regionspot_core.imaging.transforms import RGBImage, Size

CROPS_AT_ONCE = 64


def touched_pixels(box: FloatArray, size: Size) -> tuple[slice, slice]:
    """Return rows and columns of the pixels that a box touches, at least one."""
    height, width = size
    left = min(max(math.floor(box[0]), 0), width - 1)
    top = min(max(math.floor(box[1]), 0), height - 1)
    right = min(max(math.ceil(box[2]), left + 1), width)
    bottom = min(max(math.ceil(box[3]), top + 1), height)
    return slice(top, bottom), slice(left, right)


def embed_crops(encoder: ImageTextEncoder, crops: Iterable[RGBImage]) -> torch.Tensor:
    """Return (R, D) embeddings of R pictures, of length 1, on the CPU."""
    prepared = map(encoder.prepare, crops)
    embedded = [torch.zeros((0, encoder.text_width))]
    while some := list(islice(prepared, CROPS_AT_ONCE)):
        embedded.append(encoder.image_embeddings(some).cpu())
    return torch.cat(embedded)
