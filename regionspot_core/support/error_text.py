"""Errors of the system and of libraries, as parts of a message of ours."""

from __future__ import annotations

import errno

LONGEST = 200
"""Most characters of another library's message."""
DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
"""Errors of writing: no room on the disk, none in a user's share of it, or a broken disk."""

_ADVICE = {
    errno.ENOSPC: "; free some and run the same command again",
    errno.EDQUOT: "; free some and run the same command again",
    errno.EFBIG: "; the limit on the size of files must be raised (ulimit -f)",
    errno.EACCES: "; it must be readable, and writable to go on with it",
    errno.EROFS: "; choose a place that can be written",
}


def reason_of(error: OSError) -> str:
    """Return why the system refused, and what to do about it."""
    return f"{error.strerror or error}{_ADVICE.get(error.errno or 0, '')}"


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the error's type if it has none."""
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__


def one_line(error: BaseException) -> str:
    """Return an error's message in one line and cut short, or the error's type if it has none."""
    return " ".join(str(error).split())[:LONGEST] or type(error).__name__
