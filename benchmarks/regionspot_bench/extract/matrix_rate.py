"""How fast the device multiplies matrices, in the same run: the limit of its arithmetic."""

from __future__ import annotations

import torch

from regionspot_bench.measure import timed

SIDES = {"cpu": 2_048}
"""Side of the matrices; so large that nothing but arithmetic counts."""
REPEATS = 10


def matrix_rate(device: torch.device, precision: str, side: int | None = None) -> float:
    """Return the operations a second of the fastest of a few square products."""
    side = side or SIDES.get(device.type, 8_192)
    a, b = (torch.randn(side, side, device=device, dtype=getattr(torch, precision)) for _ in "ab")

    def multiply() -> None:
        (a @ b)[0, 0].item()  # waits for the device

    multiply()
    return float(2 * side**3 / min(timed(multiply) for _ in range(REPEATS)))
