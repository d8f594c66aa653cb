"""CLIP looks at the whole image, and a box is the mean of the patches inside it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from regionspot_core.backbones.protocols import ImageTextEncoder, PatchGrid
from regionspot_core.errors import InputError
from regionspot_core.imaging.boxes import FloatArray
from regionspot_core.imaging.transforms import Size
from regionspot_core.text.class_bank import ClassBank
from regionspot_evaluate.recognition.baselines.protocol import ShownRegions
from regionspot_evaluate.recognition.baselines.zero_shot import ZeroShot


class ClipPool:
    """Zero-shot CLIP on the mean of its patches' embeddings, each weighed by the box's part of it.

    Raises:
        InputError: If the encoder's patches have no embeddings.
    """

    def __init__(self, encoder: ImageTextEncoder, bank: ClassBank) -> None:
        if encoder.patch_grid is None:
            raise InputError(
                f"baseline clip-pool: CLIP {encoder.name} pools its patches by attention, so that "
                f"none of them has an embedding; name the others, such as --baseline clip-crop"
            )
        self._encoder = encoder
        self._grid = encoder.patch_grid
        self._zero_shot = ZeroShot(bank)

    def probabilities(self, shown: ShownRegions) -> NDArray[np.float32]:
        """Return (R, K) probabilities."""
        (patches_PD,) = self._encoder.patch_embeddings(shown.image_tokens).cpu()
        shares_RP = patch_shares(shown.boxes, shown.pixels.shape[:2], self._grid)
        pooled_RD = torch.from_numpy(shares_RP).float() @ patches_PD
        return self._zero_shot.probabilities(pooled_RD)


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
