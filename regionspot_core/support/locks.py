"""Locks on files, which the system drops with the process that holds them, where it has any."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from regionspot_core.support.fault_points import reach
from regionspot_core.support.files import mount_point
from regionspot_core.support.progress import say, say_once

NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS)
"""Error numbers of a file system without locks."""


class HeldLock:
    """A lock that this process holds; or, on a file system without locks, the right to go on."""

    def __init__(self, lock: FileLock | None) -> None:
        self._lock = lock

    def release(self) -> None:
        """Let go of it."""
        if self._lock is not None:
            self._lock.release()


def hold_lock(path: Path, *, timeout: float) -> HeldLock:
    """Hold the lock on a file, which is made where it is missing.

    Some network and FUSE file systems have no locks. There the work goes on, and one line says that
    nothing keeps other processes away. filelock's own way out, a file that stands for the lock,
    would outlive a process that is killed and keep the next one waiting.

    Args:
        path: The file.
        timeout: Seconds to wait for another process that holds it; -1: without end.

    Raises:
        Timeout: filelock's, if another process holds it.
        OSError: If the file cannot be made or opened.
    """
    lock = FileLock(path, fallback_to_soft=False)
    try:
        lock.acquire(timeout=timeout, blocking=timeout != 0)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        with suppress(OSError):
            path.unlink()
        say_once(
            f"{mount_point(path)}: this file system has no locks ({error.strerror}), so nothing "
            f"keeps another process from writing to the same folder"
        )
        return HeldLock(None)
    return HeldLock(lock)


def wait_for_lock(path: Path, *, waiting: Callable[[], str], patience: float = -1) -> HeldLock:
    """Hold the lock on a file; say ``waiting()``, and wait, while another process holds it.

    Args:
        path: The file.
        waiting: Makes the line.
        patience: Seconds to wait; -1: without end.

    Raises:
        Timeout: filelock's, if another process still holds it.
        OSError: If the file cannot be made or opened.
    """
    try:
        return hold_lock(path, timeout=0)
    except Timeout:
        if not patience:
            raise
        say(waiting())
        reach("wait for lock", os.getpid())
        return hold_lock(path, timeout=patience)


def has_record_locks(folder: Path) -> bool:
    """Return whether files of a folder can be locked as SQLite locks them, by POSIX's record locks.

    Raises:
        OSError: If no file can be made in the folder.
    """
    if os.name != "posix":
        return True
    import fcntl

    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno not in NO_LOCKS
    return True
