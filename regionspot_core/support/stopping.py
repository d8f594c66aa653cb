"""Being asked to stop: a preemptible machine's SIGTERM, or Ctrl-C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass
class StopRequest:
    """A request to stop, and whether it came."""

    signal: int | None = None
    """Signal that asked for it; None while none has."""

    @property
    def exit_code(self) -> int:
        """Exit code of a program that was stopped, by the shells' custom."""
        return 128 + (self.signal or 0)


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Collect requests to stop instead of dying of them; the second one is not held back.

    Only a program's main thread gets signals: elsewhere nothing is ever asked.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def asked(number: int, _: FrameType | None) -> None:
        request.signal = number
        restore()

    for number in SIGNALS:
        signal.signal(number, asked)
    try:
        yield request
    finally:
        restore()
