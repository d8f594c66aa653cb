"""Figures and tables on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

from rich.table import Table

from regionspot_core.support.terminal import output

UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def titled_table(title: str, first: str = "", figures: Sequence[str] = ()) -> Table:
    """Return an empty table without a frame.

    Args:
        title: Line above the table.
        first: Heading of the column of names.
        figures: Headings of the columns of figures, which are right-aligned.
    """
    table = Table(title=title, box=None)
    table.add_column(first, style="cyan", no_wrap=True)
    for name in figures:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def plain_table(title: str) -> Table:
    """Return a table without a frame, colours or columns, which begins at the left margin."""
    return Table(title=title, box=None, padding=(0, 1, 0, 0))


def facts_table(title: str, facts: dict[str, str]) -> Table:
    """Return a table of two columns, name and value, without lines."""
    table = Table(title=title, box=None, show_header=False)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name, value)
    return table


def show(*renderables: object) -> None:
    """Print on standard output, as wide as the terminal, 80 columns where there is none.

    Text is shown as it is: brackets in a file's name are not taken as rich's markup. A table's
    title has a line of its own: rich would fold it to the width of the table.
    """
    console = output()
    for renderable in renderables:
        if isinstance(renderable, Table) and renderable.title:
            console.print(renderable.title, style="bold")
            renderable = copy(renderable)
            renderable.title = None
        console.print(renderable)


def show_unbroken(line: str) -> None:
    """Print a line on standard output that is to be copied, such as a path, however long it is."""
    output().print(line, soft_wrap=True)


def show_written(*files: object) -> None:
    """Print which files a command wrote, their paths unbroken."""
    show_unbroken(f"written: {', '.join(map(str, files))}")


def counted(count: int, noun: str) -> str:
    """Return a count with its noun: ``1 part``, ``1,200 parts``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def per_second(rate: float) -> str:
    """Return a rate with two digits: ``85``, ``1.7``, ``0.043``."""
    return f"{rate:.0f}" if rate >= 10 else f"{rate:.2g}"


def format_bytes(count: float) -> str:
    """Return bytes with three digits and a binary unit: ``1536`` → ``1.5 KiB``."""
    for unit in UNITS:
        if abs(count) < 999.5 or unit == UNITS[-1]:
            break
        count /= 1024
    return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.3g} {unit}"


def format_seconds(seconds: float) -> str:
    """Return a duration: ``95`` → ``1 min 35 s``; hours and days above."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes / 1440:.1f} days"
