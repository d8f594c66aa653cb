"""Rows of CSV files, read as a stream."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from regionspot_core.datasets.checks import open_annotations
from regionspot_core.errors import AnnotationError
from regionspot_core.support.records import shown

LONGEST_HEADER = 4096
"""Bytes of a file that are looked at for its header."""


class Digest(Protocol):
    """Hash object of hashlib, which is updated with every file that is read."""

    def update(self, data: bytes, /) -> None:
        """Add bytes."""
        ...


def csv_header(path: Path) -> set[str]:
    """Return the names in a CSV file's first line; none where the file is missing or no CSV."""
    if path.suffix.lower() != ".csv" or not path.exists():
        return set()
    with open_annotations(path) as file:
        line = file.readline(LONGEST_HEADER).decode("utf-8-sig", errors="replace")
    return {name.strip().strip('"') for name in line.split(",")}


def read_rows(path: Path, digest: Digest) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a CSV file in UTF-8 with the lines they end in, counted from 1.

    Args:
        path: The file.
        digest: Hash that the file's bytes are added to.

    Raises:
        AnnotationError: If the file is missing or no CSV file in UTF-8.
    """
    with open_annotations(path) as file:

        def lines() -> Iterator[str]:
            for number, raw in enumerate(file):
                digest.update(raw)
                yield raw.decode("utf-8" if number else "utf-8-sig")

        reader = csv.reader(lines(), strict=True)
        try:
            for row in reader:
                yield reader.line_num, row
        except (csv.Error, UnicodeDecodeError) as error:
            raise AnnotationError(f"{path}: expected a CSV file in UTF-8 ({error})") from None


def read_columns(
    path: Path, columns: tuple[str, ...], digest: Digest
) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows after the header, with their lines, and of them the named columns only.

    Empty lines are passed over.

    Raises:
        AnnotationError: If a column is missing, or a row has more or fewer values than the header.
    """
    rows = read_rows(path, digest)
    header = [name.strip() for name in next(rows, (1, []))[1]]
    missing = [name for name in columns if name not in header]
    if missing:
        raise AnnotationError(
            f"{path}: expected a header with {', '.join(columns)}; {', '.join(missing)} missing, "
            f"got {shown(', '.join(header))}{_separator_hint(header, columns)}"
        )
    places = [header.index(name) for name in columns]
    for line, row in rows:
        if row and len(row) != len(header):
            raise AnnotationError(
                f"{path}: line {line}: expected {len(header)} values, got {len(row)}"
            )
        if row:
            yield line, [row[place] for place in places]


def _separator_hint(header: list[str], columns: tuple[str, ...]) -> str:
    """Return what to do about a header with another separator; empty where it has commas."""
    for separator, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if len(header) == 1 and columns[0] in map(str.strip, header[0].split(separator)):
            return f". Its values are separated by {name}; save it with commas"
    return ""
