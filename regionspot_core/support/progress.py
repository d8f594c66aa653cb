"""One progress line for long work: a bar on a terminal, plain lines in a log file."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Protocol

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from regionspot_core.support.tables import format_bytes, format_seconds, per_second
from regionspot_core.support.terminal import output, printable

LOG_SECONDS = 30.0
"""Seconds between lines if there is no terminal to draw a bar on."""

BYTES = "bytes"
"""A unit that is shown as KiB, MiB, …"""


class Advance(Protocol):
    """Function called with the amount done, and with words to show below the bar."""

    def __call__(self, amount: int = 1, note: str = "") -> None:
        """Advance by ``amount``."""
        ...


class ShowProgress(Protocol):
    """Type of :func:`progress_line` and its replacements."""

    def __call__(
        self, what: str, *, total: int, unit: str, start: int = 0
    ) -> AbstractContextManager[Advance]:
        """Show ``what`` advancing from ``start`` to ``total`` in ``unit``."""
        ...


def say(text: str) -> None:
    """Write one line on standard error, before work that may take long in silence."""
    output(error=True).print(text, soft_wrap=True)


@cache
def say_once(text: str) -> None:
    """Write one line on standard error, unless this process has written it before."""
    say(text)


@contextmanager
def progress_line(what: str, *, total: int, unit: str, start: int = 0) -> Iterator[Advance]:
    """Show ``what`` advancing from ``start`` to ``total`` in ``unit``, on standard error."""
    console = output(error=True)
    if console.is_terminal:
        yield from _bar(console, what, total, unit, start)
    else:
        yield from _log(console, what, total, unit, start)


@contextmanager
def no_progress_line(what: str, *, total: int, unit: str, start: int = 0) -> Iterator[Advance]:
    """Yield as :func:`progress_line` does, but show nothing: another process does."""
    yield lambda amount=1, note="": None


def _bar(console: Console, what: str, total: int, unit: str, start: int) -> Iterator[Advance]:
    columns = (
        TextColumn("{task.description:<9}", markup=False),
        BarColumn(bar_width=None),
        _AmountColumn(unit),
        _RateColumn(unit),
        TimeRemainingColumn(compact=True),
    )
    with _NotedProgress(*columns, console=console, expand=True) as progress:
        task = progress.add_task(what, total=total, completed=start, note="")

        def advance(amount: int = 1, note: str = "") -> None:
            if note:
                progress.update(task, advance=amount, note=note)
            else:
                progress.update(task, advance=amount)

        yield advance


class _NotedProgress(Progress):
    """Bars with a line below each for its note: 80 columns have no room for both in one line."""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        for task in self.tasks:
            if task.fields["note"]:
                yield Text(f"  {printable(task.fields['note'])}", no_wrap=True, overflow="ellipsis")


class _AmountColumn(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        text = _amount(int(task.completed), int(task.total or 0), self._unit)
        return Text(text, style="progress.download")


class _RateColumn(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else _rate(speed, self._unit), style="cyan")


def _log(console: Console, what: str, total: int, unit: str, start: int) -> Iterator[Advance]:
    began = last = time.monotonic()
    done, noted = start, ""

    def line() -> str:
        seconds = time.monotonic() - began
        rate = (done - start) / seconds if seconds > 0 else 0.0
        counted = _amount(done, total, unit)
        phrases = [f"{what}: {counted if unit == BYTES else f'{counted} {unit}'}"]
        if rate > 0:
            phrases.append(_rate(rate, unit))
        if rate > 0 and done < total:
            phrases.append(f"{format_seconds((total - done) / rate)} left")
        if noted:
            phrases.append(noted)
        return ", ".join(phrases)

    def advance(amount: int = 1, note: str = "") -> None:
        nonlocal done, last, noted
        done += amount
        noted = note or noted
        if done < total and time.monotonic() - last > LOG_SECONDS:  # the last line comes below
            last = time.monotonic()
            write(line())

    def write(text: str) -> None:
        # One line each, however long: nothing is as wide as a log file.
        console.print(text, soft_wrap=True)

    yield advance
    write(line())


def _amount(done: int, total: int, unit: str) -> str:
    if unit == BYTES:
        return f"{format_bytes(done)}/{format_bytes(total)}"
    return f"{done}/{total}"


def _rate(per_s: float, unit: str) -> str:
    return f"{format_bytes(per_s)}/s" if unit == BYTES else f"{per_second(per_s)} {unit}/s"
