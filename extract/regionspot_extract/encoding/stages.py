"""Where an extraction's time goes, stage by stage."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

import torch

READ = "decode + resize"
"""Stages of reader threads, which work beside each other: their seconds are added up."""
EMBED = "SAM encoder"
DECODE = "SAM decoder"
CLIP = "CLIP"
TRANSFER = "transfer"
WRITE = "write"
"""Stages of the writing thread."""
STAGES = (READ, EMBED, DECODE, CLIP, TRANSFER, WRITE)
COMPUTING = (EMBED, DECODE, CLIP)
"""While these last, the device computes."""


class Clock(Protocol):
    """Times stages."""

    def __call__(self, stage: str) -> AbstractContextManager[object]:
        """Time what is done inside; several threads may."""
        ...


def no_clock(stage: str) -> AbstractContextManager[object]:
    """Time nothing, at no cost: extraction itself."""
    return nullcontext(stage)


class StageClock:
    """Seconds of each stage.

    On CUDA, what is computed is timed by events on the device, so that nothing waits for the
    clock: from a stage's first kernel to its last one's end, with what lies between them. What the
    host does is timed there, copying without what is copied beside it.
    """

    def __init__(
        self, device: torch.device, *, now: Callable[[], float] = time.perf_counter
    ) -> None:
        self._device = device
        self._now = now
        self._lock = threading.Lock()
        self._seconds = dict.fromkeys(STAGES, 0.0)
        self._events: list[tuple[str, Any, Any]] = []

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """See :class:`Clock`."""
        if self._device.type == "cuda" and stage in COMPUTING:
            begin, end = (_timed_event() for _ in range(2))
            begin.record(torch.cuda.current_stream(self._device))
            yield
            end.record(torch.cuda.current_stream(self._device))
            self._events.append((stage, begin, end))
            return
        began = self._now()
        yield
        if self._device.type == "mps" and stage in COMPUTING:
            torch.mps.synchronize()
        with self._lock:
            self._seconds[stage] += self._now() - began

    def seconds(self) -> dict[str, float]:
        """Return the seconds of every stage so far, after waiting for the device."""
        if self._events:
            torch.cuda.synchronize(self._device)
        for stage, begin, end in self._events:
            self._seconds[stage] += begin.elapsed_time(end) / 1_000
        self._events.clear()
        return dict(self._seconds)


def _timed_event() -> Any:  # noqa: ANN401 - PyTorch does not type it
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
