"""Tokens as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regionspot_core.cache.layout.encodings.encoding import Encoded, Encoding

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray


def _encode(tokens: torch.Tensor, *, axis: int) -> Encoded:
    return Encoded(tokens)


def _decode(
    values: NDArray[np.float16],
    scales: NDArray[np.float16] | None,
    *,
    axis: int,
    out: NDArray[np.float16],
) -> None:
    out[...] = values


FLOAT16 = Encoding(
    name="float16", dtype="float16", encode=_encode, decode=_decode, is_identity=True
)
