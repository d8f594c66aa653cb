"""A map of a head's attention over the picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from regionspot_core.errors import InputError
from regionspot_core.heads.fusion.token_grid import token_grid


class NoAttentionError(InputError):
    """A head has no attention over the picture to show; the message says why, as a sentence."""


@dataclass(frozen=True)
class AttentionMap:
    """Attention of one region to the picture in one layer of a head."""

    layer: int
    """The layer, from 0."""
    layers: int
    """Number of the head's layers."""
    weights_GG: NDArray[np.float32]
    """(G, G) row by row over the picture, as it lies squashed to a square; the sum is 1."""
    class_token: float
    """Share of the attention that went to CLIP's class token, which has no place; 0 without one."""
    covered: float
    """Share of the picture's width and of its height, from the top left, that the grid covers: 1,
    or a little less where no patch sees the far edges."""

    @classmethod
    def of_tokens(
        cls, weights_T: torch.Tensor, *, layer: int, layers: int, covered: float
    ) -> AttentionMap:
        """Return the map of weights (T,) of image tokens, CLS first where there is one.

        Raises:
            NoAttentionError: If the tokens are no square grid of patches.
        """
        try:
            grid = token_grid(len(weights_T))
        except InputError:
            raise NoAttentionError(
                "The tokens that this head looks at are no square grid of patches."
            ) from None
        weights = weights_T.double().cpu()
        patches = weights[grid.cls :].reshape(grid.side, grid.side)
        total = patches.sum()
        shares = patches / total if total > 0 else torch.full_like(patches, 1 / patches.numel())
        class_token = float(weights[: grid.cls].sum())
        return cls(layer, layers, shares.float().numpy(), class_token, covered)
