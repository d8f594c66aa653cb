"""Opening what a user names as a file, and nothing that could be waited for without end."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from regionspot_core.errors import InputError


def open_input(path: Path) -> BinaryIO:
    """Open a regular file to read its bytes; reading a pipe, a socket or a device may never end.

    Raises:
        IsADirectoryError: It is a folder.
        OSError: It is missing, cannot be read, or is no regular file; ``strerror`` says so.
    """
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, f"expected a file, found {kind_of(path)}", str(path))
    return path.open("rb")


def kind_of(path: Path) -> str:
    """Return what is at a path, for a message."""
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
    """The lines of a UTF-8 text file that are not empty, stripped, with their numbers from 1.

    Raises:
        InputError: The file is missing, a folder, not UTF-8, or has no such line.
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
    lines = [(i, line.strip()) for i, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise InputError(f"{path}: expected {what}, got an empty file")
    return lines
