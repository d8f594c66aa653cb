"""An encoding of tokens, as the registry keeps it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:  # settings name encodings, and need neither NumPy nor PyTorch
    from typing import Any

    import numpy as np
    import torch
    from numpy.typing import NDArray

Shape = tuple[int, ...]
SCALE_DTYPE = "float16"


class Encoded(NamedTuple):
    """Tokens as a store keeps them."""

    values: torch.Tensor
    """Array of the tokens' shape and the encoding's dtype."""
    scales: torch.Tensor | None = None
    """Array of float16 beside the values; None for an encoding without scales."""


class Encode(Protocol):
    """Function from tokens to what a store keeps of them."""

    def __call__(self, tokens: torch.Tensor, *, axis: int) -> Encoded:
        """Encode finite float16 tokens on the device that they are on, each row by itself.

        Args:
            tokens: (rows, …).
            axis: The axis, from 1 on, whose values may share a scale.
        """
        ...


class Decode(Protocol):
    """Function that undoes an :class:`Encode`."""

    def __call__(
        self,
        values: NDArray[Any],
        scales: NDArray[np.float16] | None,
        *,
        axis: int,
        out: NDArray[np.float16],
    ) -> None:
        """Decode a few rows into ``out``, which has the shape of ``values``."""
        ...


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """One way to keep tokens, which are float16, in the arrays of a store."""

    name: str
    dtype: str
    """NumPy's name of the stored values' type: an integer or float that Zarr v3 has."""
    encode: Encode
    decode: Decode
    scale_shape: Callable[[Shape, int], Shape] | None = None
    """Function from the shape of the tokens behind axis 0, and the number of the axis that shares a
    scale, counted with axis 0, to the shape of the scales behind axis 0. The axes before that one
    stay. None for an encoding without scales."""
    is_identity: bool = False
    """Whether the stored values are the tokens themselves: they are then read without a copy."""

    def decoded(
        self, values: NDArray[Any], scales: NDArray[np.float16] | None, *, axis: int
    ) -> NDArray[np.float16]:
        """Decode rows into a new array."""
        import numpy as np

        out = np.empty(values.shape, dtype=np.float16)
        self.decode(values, scales, axis=axis, out=out)
        return out
