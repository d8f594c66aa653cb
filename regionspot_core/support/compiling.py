"""Kernels of a model's own, by ``torch.compile``."""

from __future__ import annotations

from collections.abc import Callable

import torch

BATCHES_TO_COMPILE = 3
"""After so many nothing more is made: the first compiles, and on CUDA the second records."""


def compile_obstacle(device: torch.device) -> str | None:
    """Return what keeps ``torch.compile`` from making kernels here; None if it made a small one."""
    try:
        torch.compile(_scale_and_shift, dynamic=True)(torch.ones(2, device=device))
    except Exception as error:  # compilers, and what torch makes of them, raise anything
        return " ".join(str(error).split("\n\n")[0].split())[:200]
    return None


def _scale_and_shift(x: torch.Tensor) -> torch.Tensor:
    return x * 2 + 1


class CompiledBatches:
    """A function of a batch, with kernels of its own for batches of one size.

    Others run as the function is written: a data set's last batch is not worth the minute that
    kernels take. So what comes out depends on a batch's size, and not on what came before it. On
    CUDA the kernels are replayed as a graph, which the second batch records.
    """

    def __init__(
        self, run: Callable[[torch.Tensor], torch.Tensor], size: int, device: torch.device
    ) -> None:
        """Take the function, the size and where it runs; the first such batch is compiled."""
        self._run = run
        self._size = size
        self._graphs = device.type == "cuda"
        self._compiled = torch.compile(
            run, dynamic=False, mode="reduce-overhead" if self._graphs else "default"
        )

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """Return the function's result, up to rounding; it is the caller's to keep."""
        if len(batch) != self._size:
            return self._run(batch)
        out: torch.Tensor = self._compiled(batch)
        return out.clone() if self._graphs else out  # the graph's next replay writes over it
