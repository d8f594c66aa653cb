"""The grid of patches that CLIP sees, and the patches of boxes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from regionspot_core.imaging.boxes import FloatArray
from regionspot_core.imaging.transforms import Size

LEAST_SHARE = 1e-6
"""A patch with less of a box is beside it: the rest is what division rounds."""


@dataclass(frozen=True)
class PatchGrid:
    """Places of patches on a square input."""

    side: int
    """g, patches along a side."""
    share: float
    """Share of the input's side that a patch takes: 1 / g, or less where no patch sees the far
    edges."""


def touched_patches(boxes: FloatArray, size: Size, grid: PatchGrid) -> torch.Tensor:
    """Return (R, g²) bool: the patches that each box touches in row order, at least one.

    Args:
        boxes: (R, 4) xyxy, original pixels.
        size: The image's (height, width).
        grid: Grid of the patches.
    """
    return torch.from_numpy(patch_shares(boxes, size, grid) > LEAST_SHARE)


def patch_shares(boxes: FloatArray, size: Size, grid: PatchGrid) -> NDArray[np.float64]:
    """Return (R, g²): the share of each box that lies in each patch, in row order.

    A box without an area, or beside all patches, has the nearest one.

    Args:
        boxes: (R, 4) xyxy, original pixels.
        size: The image's (height, width); it is squashed to the square that patches lie on.
        grid: Grid of the patches.
    """
    height, width = size
    places = np.asarray(boxes, dtype=np.float64) / [width, height, width, height] / grid.share
    columns = _covered(places[:, 0], places[:, 2], grid.side)
    rows = _covered(places[:, 1], places[:, 3], grid.side)
    shares: NDArray[np.float64] = rows[:, :, None] * columns[:, None, :]
    return shares.reshape(len(boxes), grid.side**2)


def _covered(
    start: NDArray[np.float64], end: NDArray[np.float64], cells: int
) -> NDArray[np.float64]:
    """Return (R, cells): the share of each interval in each unit cell of a line; rows sum to 1."""
    first = np.arange(cells)
    covered = np.minimum(end[:, None], first + 1) - np.maximum(start[:, None], first)
    covered = covered.clip(min=0)
    nothing = covered.sum(axis=1) == 0
    nearest = np.floor(start[nothing]).clip(0, cells - 1).astype(np.int64)
    covered[nothing, nearest] = 1
    shares: NDArray[np.float64] = covered / covered.sum(axis=1, keepdims=True)
    return shares
