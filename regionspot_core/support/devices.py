"""Which device PyTorch computes on: one rule for frozen models, training and scoring."""

from __future__ import annotations

import torch

from regionspot_core.errors import InputError
from regionspot_core.support.error_text import first_line


def best_device() -> str:
    """Return what ``auto`` comes to on this machine: CUDA, then Apple's MPS, then the CPU."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def open_device(name: str = "auto") -> torch.device:
    """Return a device that computes here; ``auto`` takes :func:`best_device`.

    Raises:
        InputError: If PyTorch knows no such device, or this machine has none.
    """
    try:
        device = torch.device(best_device() if name == "auto" else name)
        torch.empty(1, device=device).tolist()  # `meta`, say, has no values to give
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"device {name!r} cannot be used here ({first_line(error)}); expected auto, cpu, "
            f"cuda, mps or another that PyTorch has on this machine"
        ) from None
    return device
