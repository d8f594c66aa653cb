"""Figures of a training run between two lines of its log."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from regionspot_core.support.tables import format_bytes

Batch = TypeVar("Batch")


@dataclass(frozen=True)
class LogLine:
    """Means over the steps since the last line."""

    step: int
    loss: float
    lr: float
    gradient_norm: float
    regions_per_second: float
    waiting_share: float
    """Share of the time spent waiting for data."""
    memory_bytes: int = 0
    """Peak memory so far: the GPU's, or else the process's."""

    def words(self) -> list[str]:
        """Return the figures of a progress line."""
        words = [f"loss {self.loss:.3g}", f"{self.regions_per_second:,.0f} regions/s"]
        if self.waiting_share >= 0.05:
            words.append(f"{self.waiting_share:.0%} waiting for data")
        return [*words, format_bytes(self.memory_bytes)]


class Meter:
    """Sums, between two log lines, of the steps on a device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._reset()

    def _reset(self) -> None:
        self._losses: list[torch.Tensor] = []
        self._norms: list[torch.Tensor] = []
        self._regions = 0
        self._waited = 0.0
        self._began = time.perf_counter()

    def waiting(self, batches: Iterable[Batch]) -> Generator[Batch, None, None]:
        """Yield the batches and count the time spent waiting for them; closing this closes them."""
        source = iter(batches)
        try:
            while True:
                asked = time.perf_counter()
                try:
                    batch = next(source)
                except StopIteration:
                    return
                self._waited += time.perf_counter() - asked
                yield batch
        finally:
            if isinstance(source, Generator):
                source.close()

    @property
    def waiting_share(self) -> float:
        """Share of the time since the last line that was spent waiting for data."""
        return self._waited / (time.perf_counter() - self._began)

    def add(self, loss: torch.Tensor, norm: torch.Tensor, regions: int) -> None:
        """Add a step."""
        self._losses.append(loss.detach())
        self._norms.append(norm.detach())
        self._regions += regions

    @contextmanager
    def left_out(self) -> Iterator[None]:
        """Leave the time spent in the context out of the training's."""
        began = time.perf_counter()
        yield
        self._began += time.perf_counter() - began

    def line(self, step: int, lr: float) -> LogLine:
        """Return the means since the last line, and start again."""
        seconds = time.perf_counter() - self._began
        line = LogLine(
            step=step,
            loss=float(torch.stack(self._losses).mean()),
            lr=lr,
            gradient_norm=float(torch.stack(self._norms).mean()),
            regions_per_second=self._regions / seconds,
            waiting_share=self._waited / seconds,
            memory_bytes=peak_memory(self._device),
        )
        self._reset()
        return line

    def state(self) -> dict[str, Any]:
        """Return the steps since the last line, without their times."""
        return {"losses": self._losses, "norms": self._norms}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from another meter's :meth:`state`; rates are those of the steps from here."""
        self._reset()
        self._losses, self._norms = list(state["losses"]), list(state["norms"])


def peak_memory(device: torch.device) -> int:
    """Return the peak memory in bytes: PyTorch's on a GPU, or else the process's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
