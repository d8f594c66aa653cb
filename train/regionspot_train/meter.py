"""What a training run measures between two lines of its log."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from regionspot_core.cache.batch import FeatureBatch


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


class Meter:
    """Sums between two log lines."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._losses: list[torch.Tensor] = []
        self._norms: list[torch.Tensor] = []
        self._regions = 0
        self._waited = 0.0
        self._began = time.perf_counter()

    def waiting(self, batches: Iterable[FeatureBatch]) -> Iterator[FeatureBatch]:
        """The batches, with the time spent waiting for each counted."""
        source = iter(batches)
        while True:
            asked = time.perf_counter()
            try:
                batch = next(source)
            except StopIteration:
                return
            self._waited += time.perf_counter() - asked
            yield batch

    def add(self, loss: torch.Tensor, norm: torch.Tensor, batch: FeatureBatch) -> None:
        """Count a step."""
        self._losses.append(loss.detach())
        self._norms.append(norm.detach())
        self._regions += int(batch.mask.sum())

    @contextmanager
    def left_out(self) -> Iterator[None]:
        """Time spent here is none of the training's."""
        began = time.perf_counter()
        yield
        self._began += time.perf_counter() - began

    def line(self, step: int, lr: float) -> LogLine:
        """The means since the last line; counting starts again."""
        seconds = time.perf_counter() - self._began
        line = LogLine(
            step=step,
            loss=float(torch.stack(self._losses).mean()),
            lr=lr,
            gradient_norm=float(torch.stack(self._norms).mean()),
            regions_per_second=self._regions / seconds,
            waiting_share=self._waited / seconds,
        )
        self._reset()
        return line

    def state(self) -> dict[str, Any]:
        """The steps counted since the last line, without their times."""
        return {"losses": self._losses, "norms": self._norms}

    def restore(self, state: dict[str, Any]) -> None:
        """Count on from another meter's :meth:`state`. Rates are those of the steps from here."""
        self._reset()
        self._losses, self._norms = list(state["losses"]), list(state["norms"])
