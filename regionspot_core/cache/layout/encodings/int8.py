"""Tokens in a byte each.

``int8`` tokens stand beside float16 *scales*; a value is their product, in float16. Rounding to
the nearest step makes the error at most half a scale.

- Image tokens have a scale for each image and **channel**: a few of CLIP's channels hold values a
  hundred times the rest, and one scale a token would round the rest to nothing. Taken from the
  image itself, a scale never clips and needs no calibration, so a part's bytes depend on nothing
  but its images.
- Region tokens have a scale for each **token**: SAM ends its decoder in a LayerNorm, which leaves
  channels alike.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from regionspot_core.cache.layout.encodings.encoding import Encoded, Encoding, Shape

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

STEPS = 127
"""Quantised values lie in -127 … 127."""
SMALLEST = 2.0**-24
"""The smallest float16 above 0."""
BLOCK_VALUES = 1 << 17
"""Values decoded at a time: half a MiB of float32."""
LARGEST = 515.5
"""The largest float16 whose 127-fold is finite in float16."""


def _scale_shape(trailing: Shape, axis: int) -> Shape:
    return trailing[: axis - 1] + trailing[axis:]


def _encode(tokens: torch.Tensor, *, axis: int) -> Encoded:
    import torch

    wide = tokens.float()
    largest = wide.abs().amax(axis, keepdim=True)
    scale = (largest / STEPS).clamp(SMALLEST, LARGEST).half()
    # Among float16's smallest numbers rounding may leave too little for the largest value. The
    # next float16 after a positive one has the next bits.
    short = scale.float() * (STEPS + 0.5) < largest
    scale = torch.where(short, (scale.view(torch.int16) + 1).view(torch.float16), scale)
    scale = scale.float().clamp(max=LARGEST).half()
    steps = (wide / scale.float()).round_().clamp_(-STEPS, STEPS).to(torch.int8)
    return Encoded(steps, scale.squeeze(axis))


def _decode(
    values: NDArray[np.int8],
    scales: NDArray[np.float16] | None,
    *,
    axis: int,
    out: NDArray[np.float16],
) -> None:
    """Multiply the steps by their scales.

    A few rows at a time go through one float32 buffer that stays in the processor's cache: float32
    holds every product exactly, and torch makes float16 of it much faster than of int8. Three plain
    passes are faster than a multiplication of two types.
    """
    import torch

    steps, result = torch.from_numpy(values), torch.from_numpy(out)
    wide = torch.as_tensor(scales).float().unsqueeze(axis)
    rows = max(1, min(len(steps), BLOCK_VALUES // max(1, math.prod(values.shape[1:]))))
    buffer = torch.empty(rows, *values.shape[1:])
    for first in range(0, len(steps), rows):
        part = steps[first : first + rows]
        here = slice(first, first + len(part))
        result[here].copy_(buffer[: len(part)].copy_(part).mul_(wide[here]))


INT8 = Encoding(name="int8", dtype="int8", encode=_encode, decode=_decode, scale_shape=_scale_shape)
