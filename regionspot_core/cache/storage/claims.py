"""Claims on parts: two runs on one store share its parts and never write one file at once."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from filelock import Timeout

from regionspot_core.cache.storage.store import FolderStore, Store
from regionspot_core.errors import CacheError
from regionspot_core.support.error_text import reason_of
from regionspot_core.support.locks import HeldLock, hold_lock
from regionspot_core.support.progress import say

LOCKS = "locks"
"""The folder of a store that is being filled where its locks lie; a finished one has none."""


TRIES = 100
"""Tries to lock in a folder that another run removes when it completes the store."""
RETRY_SECONDS = 2.0
"""Pause before a run with nothing left to do tries again for the parts that another holds."""

Item = TypeVar("Item")


def retry_held(
    items: Sequence[Item], attempt: Callable[[Sequence[Item]], Sequence[Item]], *, what: str | None
) -> None:
    """Attempt all items, and those again that another run holds, until none is left.

    Args:
        items: The parts to do.
        attempt: Tries each item once, and returns those that another run holds.
        what: The word that begins the line about waiting; None shows no line.
    """
    waiting = items
    while waiting:
        held = attempt(waiting)
        if held and waiting is items and what is not None:
            say(f"{what}: {len(held)} parts are with another run on this store; waiting for it")
        if len(held) == len(waiting):
            time.sleep(RETRY_SECONDS)
        waiting = held


class Claims(ABC):
    """The claims on one store's parts."""

    @abstractmethod
    @contextmanager
    def whole(self) -> Iterator[None]:
        """Hold the right to create or to complete the store; waits for another that does."""

    @abstractmethod
    @contextmanager
    def part(self, part: int) -> Iterator[bool]:
        """Try to hold a part, and yield whether it is held. Killing the process lets go of it."""

    @abstractmethod
    def clean_up(self) -> None:
        """Remove what claims leave behind; called when every part is committed."""


def claims_on(store: Store) -> Claims:
    """Return the kind of claims that the store's place allows."""
    if isinstance(store, FolderStore):
        return FolderClaims(store.folder)
    return NoClaims()


class FolderClaims(Claims):
    """Locks that the system drops with the process that holds them, over shared folders too."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def whole(self) -> Iterator[None]:
        """See :class:`Claims`."""
        path = self._lock
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()  # where no file can be made, as in /proc, FileLock would try for ever
            lock = hold_lock(path, timeout=-1)
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
                lock.release()
        except OSError as error:
            raise CacheError(
                f"{self._folder}: the store cannot be written: {reason_of(error)}"
            ) from None

    @contextmanager
    def part(self, part: int) -> Iterator[bool]:
        """See :class:`Claims`."""
        path = self._folder / LOCKS / f"{part:06d}.lock"
        try:
            lock = self._acquire(path)
        except Timeout:
            yield False
            return
        except OSError as error:
            raise CacheError(f"{path}: cannot be locked: {reason_of(error)}") from None
        try:
            yield True
        finally:
            path.unlink(missing_ok=True)
            lock.release()

    def _acquire(self, path: Path) -> HeldLock:
        attempt = 1
        while True:
            path.parent.mkdir(exist_ok=True)
            if path.parent.is_symlink():
                raise OSError(None, f"{LOCKS} is a link; put a folder in its place")
            try:
                return hold_lock(path, timeout=0)
            except FileNotFoundError:
                # A run that has just completed the store removed the folder meanwhile.
                if attempt == TRIES:
                    raise
                attempt += 1

    def clean_up(self) -> None:
        """See :class:`Claims`."""
        for path in (self._folder / LOCKS).glob("*.lock"):
            # A run that was killed just after it committed its part left this.
            self._remove_unheld(path)
        # Another run may be looking at its last part: it then removes the folder itself.
        with suppress(OSError):
            (self._folder / LOCKS).rmdir()
        # A finished store may lie on a disk that can only be read.
        with suppress(OSError):
            self._lock.unlink(missing_ok=True)

    def _remove_unheld(self, path: Path) -> None:
        with suppress(Timeout, OSError):
            lock = hold_lock(path, timeout=0)
            try:
                path.unlink(missing_ok=True)
            finally:
                lock.release()

    @property
    def _lock(self) -> Path:
        folder = self._folder.absolute()  # the working directory's own name, where it is "."
        if not folder.name:
            raise CacheError(
                f"{folder}: expected a folder of the store's own; choose another --out"
            )
        return folder.with_name(f"{folder.name}.lock")


class NoClaims(Claims):
    """Claims of a store at a URL: none is made."""

    @contextmanager
    def whole(self) -> Iterator[None]:
        """See :class:`Claims`."""
        yield

    @contextmanager
    def part(self, part: int) -> Iterator[bool]:
        """See :class:`Claims`."""
        yield True

    def clean_up(self) -> None:
        """See :class:`Claims`."""
