"""Opening what a user names as a file, and nothing that could be waited for without end."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


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
