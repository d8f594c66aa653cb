"""The square grid of patches that CLIP's tokens of an image lie on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from regionspot_core.errors import InputError

Positions = Literal["sincos", "learned"] | None


@dataclass(frozen=True)
class TokenGrid:
    """T tokens of a square image: CLS where the tower has one, then side × side patches."""

    side: int
    cls: int
    """1 with a CLS token, 0 without."""

    @property
    def tokens(self) -> int:
        """T, the number of tokens."""
        return self.cls + self.side**2

    def pooled(self, p: int) -> TokenGrid:
        """Return the grid after p × p pooling.

        Raises:
            InputError: If p does not divide the grid's side.
        """
        if self.side % p:
            raise InputError(
                f"head.image_pooling={p} does not divide CLIP's grid of {self.side} × "
                f"{self.side} patches; set it to a divisor of {self.side}"
            )
        return TokenGrid(self.side // p, self.cls)


def token_grid(tokens: int) -> TokenGrid:
    """Return the grid that T tokens lie on. Only 1 is both a square and a square plus one.

    Raises:
        InputError: If they are no square grid, with or without CLS.
    """
    for cls in (0, 1):
        side = math.isqrt(tokens - cls)
        if side**2 == tokens - cls:
            return TokenGrid(side, cls)
    raise InputError(
        f"expected image tokens of a square grid of patches, with or without CLS, got {tokens}; "
        f"head.image_pooling and head.image_positions=sincos need such a grid"
    )


def require_positions(kind: Positions, tokens: int | None, width: int) -> None:
    """Refuse positions that cannot be added to T tokens of width C.

    Raises:
        InputError: If the number of tokens is unknown, or no grid, or C is no multiple of 4.
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
