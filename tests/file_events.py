"""What a process does to files, counted: a test kills or steps in at an event, not at a time.

An *event* is a thing that a process does to a file: it opens, makes, renames or removes one, or
waits until it is on the disk. A process killed at its n-th event is killed at the same place
whenever it is done again, which no clock can promise.
"""

import itertools
import os
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

COUNTED = {
    "open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink",
    "os.truncate", "shutil.rmtree", "sqlite3.connect",
}  # fmt: skip
_watchers: list[Callable[[str], None]] = []


@contextmanager
def watched(watcher: Callable[[str], None]) -> Iterator[None]:
    """Call a function with each event's path before it happens."""
    _install()
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)


def _audited(event: str, arguments: tuple[Any, ...]) -> None:
    if _watchers and event in COUNTED and isinstance(arguments[0], str | bytes | os.PathLike):
        for watcher in tuple(_watchers):
            watcher(os.fsdecode(arguments[0]))


_installed = False


def _install() -> None:
    """Add the hook, once a process: Python takes none away."""
    global _installed
    if not _installed:
        _installed = True
        sys.addaudithook(_audited)


class FileEvents:
    """Counts this process's events from now on, and kills it at one of them.

    Args:
        folder: Whose files count.
        kill_at: The process kills itself at this event, counted from 1.
        kill_on: Or at the first event of a path that has this in its name.
        torn: A file that the process then waits for keeps only this share of its bytes, as one
            that a kill cut off.
    """

    def __init__(
        self,
        folder: Path,
        kill_at: int | None = None,
        kill_on: str | None = None,
        torn: float | None = None,
    ) -> None:
        self._folder = str(folder)
        self._kill_at, self._kill_on, self._torn = kill_at, kill_on, torn
        self._numbers = itertools.count(1)
        self._last = 0
        self._fsync = os.fsync
        os.fsync = self._synced
        _install()
        _watchers.append(self._touched)

    def end(self) -> int:
        """Return how many there were; none kills the process any more."""
        number = self._last
        self._kill_at = self._kill_on = None
        return number

    def _touched(self, path: str) -> None:
        if path.startswith(self._folder) or not path.startswith("/"):
            self._happened(path)

    def _synced(self, descriptor: int) -> None:
        self._happened("", descriptor)
        self._fsync(descriptor)

    def _happened(self, path: str, descriptor: int | None = None) -> None:
        number = self._last = next(self._numbers)
        if number == self._kill_at or (self._kill_on is not None and self._kill_on in path):
            if descriptor is not None and self._torn is not None:
                self._tear(descriptor, self._torn)
            os.kill(os.getpid(), signal.SIGKILL)

    @staticmethod
    def _tear(descriptor: int, share: float) -> None:
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode):
            os.ftruncate(descriptor, int(status.st_size * share))
