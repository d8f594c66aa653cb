"""Opening of regular files alone: a pipe, a socket or a device could be waited for without end."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from regionspot_core.errors import InputError


def open_regular(path: Path) -> int:
    """Open a regular file for reading, and return the descriptor, which the caller closes.

    Reading a pipe, a socket or a device might never end.

    Raises:
        IsADirectoryError: If it is a folder.
        OSError: If it is missing, cannot be read, or is no regular file; ``strerror`` says so.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket, or a device without hardware
            raise _not_a_file(path) from None
        raise
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise _not_a_file(path)


def _not_a_file(path: Path) -> OSError:
    number = errno.EISDIR if path.is_dir() else errno.EINVAL  # the former is IsADirectoryError
    return OSError(number, f"expected a file, found {kind_of(path)}", str(path))


def open_input(path: Path, *, buffering: int = -1) -> BinaryIO:
    """Open a regular file to read its bytes.

    Raises:
        IsADirectoryError: If it is a folder.
        OSError: If it is missing, cannot be read, or is no regular file; ``strerror`` says so.
    """
    return open(open_regular(path), "rb", buffering=buffering)


def kind_of(path: Path) -> str:
    """Return the kind of thing at a path, for a message."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return "a link to nothing" if path.is_symlink() else "nothing there"
    except OSError as error:
        return f"a place that cannot be read ({error.strerror})"
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFREG: "a file",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a disk",
    }
    return kinds.get(stat.S_IFMT(mode), "something else")


def read_lines(path: Path, *, what: str) -> list[tuple[int, str]]:
    """Return the lines of a UTF-8 text that are not empty, stripped, with their numbers from 1.

    Raises:
        InputError: If the file is missing, a folder, not UTF-8, or has no such line.
    """
    try:
        with open_input(path) as file:
            text = file.read().decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: expected {what}, got no such file") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: expected {what} in UTF-8, got other bytes") from None
    except OSError as error:
        raise InputError(f"{path}: expected {what}; it cannot be read ({error.strerror})") from None
    if "\0" in text:  # as in files of numbers, which may be UTF-8 by chance
        raise InputError(f"{path}: expected {what} in UTF-8, got other bytes")
    lines = [(i, line.strip()) for i, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise InputError(f"{path}: expected {what}, got an empty file")
    return lines
