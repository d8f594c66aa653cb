"""What every reader makes of what it finds in a file: checks, columns, look-ups."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from regionspot_core.datasets.vocabulary import is_text
from regionspot_core.errors import AnnotationError
from regionspot_core.support.input_files import open_input
from regionspot_core.support.records import shown

Number = TypeVar("Number", bound=np.generic)
MOST_DIGITS = 18
"""Digits of a number that 64 bits hold whatever it is."""
LONGEST_SIDE = 2**24
"""Longest side of an image, in pixels: up to it float32, as in boxes, holds every whole number."""


@contextmanager
def open_annotations(path: Path) -> Iterator[BinaryIO]:
    """Open the file.

    Raises:
        AnnotationError: If the file is missing, a folder, no regular file, or cannot be read.
    """
    try:
        with open_input(path) as file:
            yield file
    except FileNotFoundError:
        raise AnnotationError(f"{path}: no such annotation file") from None
    except IsADirectoryError:
        raise AnnotationError(f"{path}: expected an annotation file, got a folder") from None
    except OSError as error:
        raise AnnotationError(f"{path}: cannot be read ({error.strerror})") from None


def whole_number(path: Path, what: str, value: object) -> int:
    """Return ``value`` if it is a whole number of 64 bits, or refuse it."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or abs(value) >= 2**63:
        raise AnnotationError(f"{path}: expected a whole number as {what}, got {shown(value)}")
    return value


def number_in(text: str) -> int | None:
    """Return the number that a text of at most ``MOST_DIGITS`` digits is; None for any other."""
    is_number = text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS
    return int(text) if is_number else None


def image_name(where: str, name: str) -> str:
    r"""Return an image's path in the image folder, with ``/`` between its parts.

    Other systems' ``\`` is read as ``/``.

    Args:
        where: Words that begin an error: the file and the entry.
        name: The name as the file has it.

    Raises:
        AnnotationError: If it is empty, no text, absolute, or leaves the folder by ``..``.
    """
    path, windows = PurePosixPath(name.replace("\\", "/")), PureWindowsPath(name)
    leaves = path.is_absolute() or windows.drive or ".." in path.parts
    if leaves or not path.parts or not is_text(name):
        raise AnnotationError(
            f"{where}: file name {shown(name)} must be relative and stay inside the image folder"
        )
    return str(path)


def view(column: array[Any] | bytearray, dtype: type[Number]) -> NDArray[Number]:
    """Return the column's memory as an array, not copied; the column can then grow no more."""
    return np.frombuffer(column, dtype=dtype) if column else np.zeros(0, dtype=dtype)


def require_unique(path: Path, what: str, ids: NDArray[np.int64]) -> None:
    """Refuse ids of which two are the same, with the first such."""
    ordered = np.sort(ids)
    same = np.flatnonzero(ordered[1:] == ordered[:-1])
    if len(same):
        raise AnnotationError(
            f"{path}: {what} ids must differ; {ordered[same[0]]} occurs more than once"
        )


def locate(ids: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the position in ``ids`` of each of ``wanted``, −1 where it is absent."""
    if not len(ids):
        return np.full(len(wanted), -1, dtype=np.int64)
    order = np.argsort(ids)
    place = np.searchsorted(ids, wanted, sorter=order)
    np.minimum(place, len(ids) - 1, out=place)
    position = order[place]
    position[ids[position] != wanted] = -1
    return position


def locate_all(
    path: Path, what: str, ids: NDArray[np.int64], wanted: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the position in ``ids`` of each of ``wanted``; refuse an absent one."""
    position = locate(ids, wanted)
    if len(position) and position.min() < 0:
        absent = wanted[int(np.argmin(position))]
        raise AnnotationError(f"{path}: {what} {absent} is not in the file")
    return position
