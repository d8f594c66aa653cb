"""The 2-D sine-cosine position table that both tiny backbones start from."""

import torch

from regionspot_core.tiny.models import GRID


def sincos_positions(width: int) -> torch.Tensor:
    """Return position table [GRID * GRID, width] in row order, values of unit variance.

    A quarter of the channels each: sine and cosine of the column, sine and cosine of the row.
    `width` must divide by 4. The lowest frequency spans the grid: with the usual base of 10 000
    most channels would be constant over 12 cells.
    """
    frequencies = torch.pi / 2 ** torch.linspace(0, 4, width // 4)
    angles = torch.arange(GRID)[:, None] * frequencies
    waves = torch.cat([angles.sin(), angles.cos()], dim=1)
    columns = waves[None, :, :].expand(GRID, -1, -1)
    rows = waves[:, None, :].expand(-1, GRID, -1)
    table = torch.cat([columns, rows], dim=2).reshape(GRID * GRID, width)
    return (table - table.mean()) / table.std()
