"""float16 features in a byte each, and back.

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
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray

STEPS = 127
"""Quantised values lie in -127 … 127."""
SMALLEST = float(np.finfo(np.float16).smallest_subnormal)
BLOCK_VALUES = 1 << 17
"""Values decoded at a time: half a MiB of float32."""
LARGEST = 515.5
"""The largest float16 whose 127-fold is finite in float16."""


def quantise(
    values: NDArray[np.float16], *, axis: int
) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    """:func:`quantise_tensor` of an array."""
    steps, scale = quantise_tensor(torch.from_numpy(values), axis=axis)
    return steps.numpy(), scale.numpy()


def quantise_tensor(values: torch.Tensor, *, axis: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Int8 steps and float16 scales of finite float16 values, on the device that they are on.

    Args:
        values: Any shape.
        axis: The axis that shares a scale; the scales' shape lacks it.
    """
    wide = values.float()
    largest = wide.abs().amax(axis, keepdim=True)
    scale = (largest / STEPS).clamp(SMALLEST, LARGEST).half()
    # Among float16's smallest numbers rounding may leave too little for the largest value. The
    # next float16 after a positive one has the next bits.
    short = scale.float() * (STEPS + 0.5) < largest
    scale = torch.where(short, (scale.view(torch.int16) + 1).view(torch.float16), scale)
    scale = scale.float().clamp(max=LARGEST).half()
    steps = (wide / scale.float()).round_().clamp_(-STEPS, STEPS).to(torch.int8)
    return steps, scale.squeeze(axis)


def restore(
    steps: NDArray[np.int8], scale: NDArray[np.float16], *, axis: int
) -> NDArray[np.float16]:
    """``steps × scale`` in float16, the scales' missing axis put back at ``axis``, from 1 on."""
    return restore_blocks([(slice(0, len(steps)), steps)], scale, shape=steps.shape, axis=axis)


def restore_blocks(
    blocks: Iterable[tuple[slice, NDArray[np.int8]]],
    scale: NDArray[np.float16],
    *,
    shape: tuple[int, ...],
    axis: int,
) -> NDArray[np.float16]:
    """:func:`restore` of steps that come a few rows at a time, each block with its place.

    A few rows at a time go through one float32 buffer that stays in the processor's cache: float32
    holds every product exactly, and torch makes float16 of it much faster than of int8. Three plain
    passes are faster than a multiplication of two types.
    """
    out = np.empty(shape, dtype=np.float16)
    result, wide = torch.from_numpy(out), torch.from_numpy(scale).float().unsqueeze(axis)
    rows = max(1, min(len(out), BLOCK_VALUES // max(1, math.prod(shape[1:]))))
    buffer = torch.empty(rows, *shape[1:])
    for place, block in blocks:
        given = torch.from_numpy(block)
        for first in range(0, len(given), rows):
            part = given[first : first + rows]
            here = slice(place.start + first, place.start + first + len(part))
            result[here].copy_(buffer[: len(part)].copy_(part).mul_(wide[here]))
    return out
