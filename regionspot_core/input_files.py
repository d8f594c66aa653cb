"""Opening what a user names as a file, and nothing that could be waited for without end."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from regionspot_core.arguments import kind_of


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
