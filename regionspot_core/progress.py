"""One progress line for long work: a bar on a terminal, plain lines in a log file."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from regionspot_core.tables import per_second

LOG_SECONDS = 30.0
"""How often a line is written where there is no terminal to draw a bar on."""


class Advance(Protocol):
    """Call with how much was done, and words to show behind the bar."""

    def __call__(self, amount: int = 1, note: str = "") -> None:
        """Advance by ``amount``."""
        ...


@contextmanager
def progress_line(what: str, *, total: int, unit: str, start: int = 0) -> Iterator[Advance]:
    """Show ``what`` advancing from ``start`` to ``total`` in ``unit``, on standard error."""
    console = Console(stderr=True)
    if console.is_terminal:
        yield from _bar(console, what, total, unit, start)
    else:
        yield from _log(console, what, total, unit, start)


def _bar(console: Console, what: str, total: int, unit: str, start: int) -> Iterator[Advance]:
    columns = (
        TextColumn("{task.description:<9}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        _RateColumn(unit),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, expand=True) as progress:
        task = progress.add_task(what, total=total, completed=start, note="")

        def advance(amount: int = 1, note: str = "") -> None:
            if note:
                progress.update(task, advance=amount, note=note)
            else:
                progress.update(task, advance=amount)

        yield advance


class _RateColumn(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{per_second(speed)} {self._unit}/s", style="cyan")


def _log(console: Console, what: str, total: int, unit: str, start: int) -> Iterator[Advance]:
    began = last = time.monotonic()
    done = start

    def line(note: str) -> str:
        seconds = time.monotonic() - began
        rate = (done - start) / seconds if seconds > 0 else 0.0
        left = f", {(total - done) / rate:.0f} s left" if rate > 0 and done < total else ""
        tail = f", {note}" if note else ""
        return f"{what}: {done}/{total} {unit}, {per_second(rate)} {unit}/s{left}{tail}"

    def advance(amount: int = 1, note: str = "") -> None:
        nonlocal done, last
        done += amount
        if time.monotonic() - last > LOG_SECONDS:
            last = time.monotonic()
            console.print(line(note), highlight=False)

    yield advance
    console.print(line(""), highlight=False)
