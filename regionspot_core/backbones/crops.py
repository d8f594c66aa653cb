"""Pictures of single regions, and CLIP's embeddings of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from regionspot_core.backbones.protocols import ImageTextEncoder
from regionspot_core.imaging.boxes import FloatArray
from regionspot_core.imaging.transforms import RGBImage, Size
from regionspot_core.region_tokens import MASK_SIDE

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
    return (image[place] for place in _places(image, boxes, scale))


def masked_crops(
    image: RGBImage,
    boxes: FloatArray,
    mask_grids: torch.Tensor,
    *,
    paint: tuple[int, int, int],
    scale: float = 1.0,
) -> Iterator[RGBImage]:
    """Yield the same crops, all outside each region's mask painted.

    A mask ends at its box. Inside, a pixel is of the mask where the grid's values, taken between
    the centres of its cells at the pixel's centre, are above a half.

    Args:
        image: uint8 (H, W, 3), RGB.
        boxes: (R, 4) xyxy, the image's pixels.
        mask_grids: (R, 16, 16) in 0 … 1, as :meth:`RegionEncoder.mask_grids` returns them.
        paint: RGB, 0 to 255.
        scale: Sides of the crop as multiples of the box's; the image's edges cut it.
    """
    grids = mask_grids.float().cpu().numpy()
    for box, grid, (rows, columns) in zip(
        np.asarray(boxes, dtype=np.float64), grids, _places(image, boxes, scale), strict=True
    ):
        down, across = _cell_weights(rows, box[1::2]), _cell_weights(columns, box[0::2])
        inside = down @ grid @ across.T > 0.5
        yield np.where(inside[..., None], image[rows, columns], np.array(paint, dtype=np.uint8))


def _places(image: RGBImage, boxes: FloatArray, scale: float) -> list[tuple[slice, slice]]:
    """Return rows and columns of each box, enlarged about its centre."""
    exact = np.asarray(boxes, dtype=np.float64)
    margin = (exact[:, 2:] - exact[:, :2]) * (scale - 1) / 2
    larger = np.concatenate([exact[:, :2] - margin, exact[:, 2:] + margin], axis=1)
    return [touched_pixels(box, (image.shape[0], image.shape[1])) for box in larger]


def _cell_weights(pixels: slice, ends: FloatArray) -> NDArray[np.float32]:
    """Return (n, 16): shares of the cells along a box's side that make up each pixel's value.

    A pixel whose centre lies beside the box has none.
    """
    side = ends[1] - ends[0]
    if side <= 0:
        return np.zeros((pixels.stop - pixels.start, MASK_SIDE), np.float32)
    along = (np.arange(pixels.start, pixels.stop) + 0.5 - ends[0]) / side
    place = (along * MASK_SIDE - 0.5).clip(0, MASK_SIDE - 1)
    weights = (1 - np.abs(place[:, None] - np.arange(MASK_SIDE))).clip(min=0)
    weights[(along < 0) | (along > 1)] = 0
    return np.asarray(weights, dtype=np.float32)


def embed_regions(
    encoder: ImageTextEncoder,
    image: RGBImage,
    boxes: FloatArray,
    mask_grids: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return (R, D) embeddings of boxes by a pass over the crop of each, length 1, on the CPU.

    Args:
        encoder: CLIP.
        image: uint8 (H, W, 3), RGB.
        boxes: (R, 4) xyxy, the image's pixels.
        mask_grids: (R, 16, 16), outside of which a crop is painted in the encoder's mean colour;
            None leaves it as it is.
    """
    if mask_grids is None:
        return embed_crops(encoder, box_crops(image, boxes, scale=EMBEDDED_SCALE))
    crops = masked_crops(image, boxes, mask_grids, paint=encoder.mean_colour, scale=EMBEDDED_SCALE)
    return embed_crops(encoder, crops)


def embed_crops(encoder: ImageTextEncoder, crops: Iterable[RGBImage]) -> torch.Tensor:
    """Return (R, D) embeddings of R pictures, of length 1, on the CPU."""
    prepared = map(encoder.prepare, crops)
    embedded = [torch.zeros((0, encoder.text_width))]
    while some := list(islice(prepared, CROPS_AT_ONCE)):
        embedded.append(encoder.image_embeddings(some).cpu())
    return torch.cat(embedded)
