"""CSV files for a spreadsheet, in which no text is taken for a formula."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from regionspot_core.support.files import written_aside

FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""Characters that begin a spreadsheet's formula, full-width signs too (OWASP, CSV injection)."""


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file, whole or not at all, each cell as :func:`safe_cell` has it."""
    with (
        written_aside(path) as partial,
        partial.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        writer = csv.writer(file)
        for row in (header, *rows):
            writer.writerow([safe_cell(cell) for cell in row])


def safe_cell(value: object) -> object:
    """Return a cell that is text for a spreadsheet: an apostrophe before what begins a formula.

    Numbers, and texts that are one, such as ``-1.5``, stay as they are.
    """
    if not isinstance(value, str) or not value.startswith(FORMULA_SIGNS) or _is_number(value):
        return value
    return f"'{value}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.strip() == text
