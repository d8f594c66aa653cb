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

import numpy as np
import torch
from numpy.typing import NDArray

STEPS = 127
"""Quantised values lie in -127 … 127."""
SMALLEST = float(np.finfo(np.float16).smallest_subnormal)
LARGEST = 515.5
"""The largest float16 whose 127-fold is finite in float16."""


def quantise(
    values: NDArray[np.float16], *, axis: int
) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    """Int8 steps and scales of finite float16 values.

    Args:
        values: Any shape.
        axis: The axis that shares a scale; the scales' shape lacks it.
    """
    wide = torch.from_numpy(values).float()
    scale = (wide.abs().amax(axis, keepdim=True) / STEPS).clamp(SMALLEST, LARGEST).half()
    steps = (wide / scale.float()).round_().clamp_(-STEPS, STEPS).to(torch.int8)
    return steps.numpy(), scale.squeeze(axis).numpy()


def restore(
    steps: NDArray[np.int8], scale: NDArray[np.float16], *, axis: int
) -> NDArray[np.float16]:
    """``steps × scale`` in float16, the scales' missing axis put back at ``axis``."""
    product = torch.from_numpy(steps).half().mul_(torch.from_numpy(scale).unsqueeze(axis))
    return np.asarray(product.numpy())
