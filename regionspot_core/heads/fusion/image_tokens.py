"""CLIP's tokens as a head sees them: a grid of patches, pooled, with positions."""

from __future__ import annotations

import torch

from regionspot_core.heads.fusion.token_grid import TokenGrid as TokenGrid
from regionspot_core.heads.fusion.token_grid import require_positions as require_positions
from regionspot_core.heads.fusion.token_grid import token_grid as token_grid

TEMPERATURE = 10_000.0
"""Base of the positions' rates (arXiv 1706.03762, section 3.5)."""


def pooled_tokens(tokens_BTC: torch.Tensor, p: int) -> torch.Tensor:
    """Return means over p × p patches, CLS as it is.

    Raises:
        InputError: If the tokens are no grid that p divides.
    """
    if p == 1:
        return tokens_BTC
    batch, count, width = tokens_BTC.shape
    grid = token_grid(count)
    side = grid.pooled(p).side
    patches = tokens_BTC[:, grid.cls :].reshape(batch, side, p, side, p, width)
    means = patches.mean(dim=(2, 4)).flatten(1, 2)
    return torch.cat([tokens_BTC[:, : grid.cls], means], dim=1)


def sincos_positions(tokens: int, width: int) -> torch.Tensor:
    """Return (T, C): sines and cosines of each patch's column and row, a half each; zeros for CLS.

    The two-dimensional form of MoCo v3 (arXiv 2104.02057, section 4.1): a quarter of the channels
    each for sin x, cos x, sin y and cos y, in patches, at rates from 1 to 1/10 000.

    Raises:
        InputError: If the tokens are no square grid.
    """
    grid, quarter = token_grid(tokens), width // 4
    rates = TEMPERATURE ** -(torch.arange(quarter, dtype=torch.float64) / quarter)
    along = torch.arange(grid.side, dtype=torch.float64)
    y, x = (each.flatten()[:, None] for each in torch.meshgrid(along, along, indexing="ij"))
    parts = [turn(each * rates) for each in (x, y) for turn in (torch.sin, torch.cos)]
    patches = torch.cat(parts, dim=1).float()
    return torch.cat([patches.new_zeros(grid.cls, width), patches])
