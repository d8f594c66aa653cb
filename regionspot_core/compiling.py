"""Kernels of a model's own, by ``torch.compile``."""

from __future__ import annotations

from collections.abc import Callable

import torch

BATCHES_TO_COMPILE = 4
"""Of one shape, after which nothing more is made: see :class:`CompiledShapes`."""


def why_not(device: torch.device) -> str | None:
    """Why ``torch.compile`` can make no kernels here; None where it can. A small one is made."""
    try:
        torch.compile(_a_little, dynamic=True)(torch.ones(2, device=device))
    except Exception as error:  # compilers, and what torch makes of them, raise anything
        return " ".join(str(error).split("\n\n")[0].split())[:200]
    return None


def _a_little(x: torch.Tensor) -> torch.Tensor:
    return x * 2 + 1


class CompiledShapes:
    """A function of a batch, with kernels of its own for every shape that comes again.

    A shape's first batch runs as the function is written: a data set's last batch is the only one
    of its size, and not worth the minute that kernels take. The second batch makes the kernels. On
    CUDA they are replayed as a graph, which the next two warm up and record.
    """

    def __init__(self, run: Callable[[torch.Tensor], torch.Tensor], device: torch.device) -> None:
        """Take the function and where it runs; nothing is compiled yet."""
        self._run = run
        self._graphs = device.type == "cuda"
        self._compiled = torch.compile(
            run, dynamic=False, mode="reduce-overhead" if self._graphs else "default"
        )
        self._seen: set[torch.Size] = set()

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """What the function gives, to rounding; the caller's to keep."""
        if batch.shape not in self._seen:
            self._seen.add(batch.shape)
            return self._run(batch)
        out: torch.Tensor = self._compiled(batch)
        return out.clone() if self._graphs else out  # the graph's next replay writes over it
