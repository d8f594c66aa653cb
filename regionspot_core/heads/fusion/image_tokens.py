"""CLIP's tokens as a head sees them: a grid of patches, pooled, with positions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch

from regionspot_core.errors import InputError

TEMPERATURE = 10_000.0
"""Of the sine and cosine positions (arXiv 1706.03762, section 3.5)."""

Positions = Literal["sincos", "learned"] | None


@dataclass(frozen=True)
class TokenGrid:
    """T tokens of a square image: CLS where the tower has one, then side × side patches."""

    side: int
    cls: int
    """1 with a CLS token, 0 without."""

    @property
    def tokens(self) -> int:
        """T"""
        return self.cls + self.side**2

    def pooled(self, p: int) -> TokenGrid:
        """The grid after p × p pooling.

        Raises:
            InputError: p does not divide the grid's side.
        """
        if self.side % p:
            raise InputError(
                f"head.image_pooling={p} does not divide CLIP's grid of {self.side} × "
                f"{self.side} patches; set it to a divisor of {self.side}"
            )
        return TokenGrid(self.side // p, self.cls)


def token_grid(tokens: int) -> TokenGrid:
    """How T tokens lie in the image; no number is both a square and a square and one, but 1.

    Raises:
        InputError: They are no square grid, with or without CLS.
    """
    for cls in (0, 1):
        side = math.isqrt(tokens - cls)
        if side**2 == tokens - cls:
            return TokenGrid(side, cls)
    raise InputError(
        f"expected image tokens of a square grid of patches, with or without CLS, got {tokens}; "
        f"head.image_pooling and head.image_positions=sincos need such a grid"
    )


def pooled_tokens(tokens_BTC: torch.Tensor, p: int) -> torch.Tensor:
    """Means over p × p patches, CLS as it is.

    Raises:
        InputError: The tokens are no grid that p divides.
    """
    if p == 1:
        return tokens_BTC
    batch, count, width = tokens_BTC.shape
    grid = token_grid(count)
    side = grid.pooled(p).side
    patches = tokens_BTC[:, grid.cls :].reshape(batch, side, p, side, p, width)
    means = patches.mean(dim=(2, 4)).flatten(1, 2)
    return torch.cat([tokens_BTC[:, : grid.cls], means], dim=1)


def require_positions(kind: Positions, tokens: int | None, width: int) -> None:
    """Refuse positions that cannot be given to T tokens of width C.

    Raises:
        InputError: That is so.
    """
    if kind is not None and tokens is None:
        raise InputError(
            f"image_positions={kind} needs image_tokens, the number of CLIP's tokens an image"
        )
    if kind == "sincos" and tokens is not None:
        token_grid(tokens)
        if width % 4:
            raise InputError(
                f"image_positions=sincos needs a CLIP width that is a multiple of 4, got {width}"
            )


def sincos_positions(tokens: int, width: int) -> torch.Tensor:
    """(T, C): sines and cosines of each patch's column and row, a half each; zeros for CLS.

    The two-dimensional form of MoCo v3 (arXiv 2104.02057, section 4.1): a quarter of the channels
    each for sin x, cos x, sin y and cos y, in patches, at rates from 1 to 1/10 000.

    Raises:
        InputError: The tokens are no square grid.
    """
    grid, quarter = token_grid(tokens), width // 4
    rates = TEMPERATURE ** -(torch.arange(quarter, dtype=torch.float64) / quarter)
    along = torch.arange(grid.side, dtype=torch.float64)
    y, x = (each.flatten()[:, None] for each in torch.meshgrid(along, along, indexing="ij"))
    parts = [turn(each * rates) for each in (x, y) for turn in (torch.sin, torch.cos)]
    patches = torch.cat(parts, dim=1).float()
    return torch.cat([patches.new_zeros(grid.cls, width), patches])
