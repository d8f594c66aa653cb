"""Opening what a user names as a file, and nothing that could be waited for without end."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_input(path: Path) -> BinaryIO:
    """Open a regular file to read its bytes; reading a pipe, a socket or a device may never end.

    Raises:
        IsADirectoryError: It is a folder.
        OSError: It is missing, cannot be read, or is no regular file; ``strerror`` says so.
    """
    # Asked before it is opened, since opening a device may already do something to it, and again
    # after. O_NONBLOCK opens a pipe that took the file's place without waiting for its writer.
    _require_regular(path.stat().st_mode, path)
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _BINARY)
    try:
        _require_regular(os.fstat(descriptor).st_mode, path)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


_BINARY = getattr(os, "O_BINARY", 0)


def _require_regular(mode: int, path: Path) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "of another kind")
        raise OSError(errno.EINVAL, f"expected a regular file, got {kind}", str(path))
