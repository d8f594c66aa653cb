"""What the campaign does in forks of its own: commands, killed at a chosen event or not.

An *event* is a thing that a process does to files of the campaign: it opens, makes, renames or
removes one, or waits until it is on the disk. A process killed at its n-th event is killed at the
same place whenever it is done again, which no clock can promise.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import signal
import stat
import sys
from pathlib import Path
from typing import Any

import numpy as np

import regionspot.cli

_COUNTED = {
    "open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink",
    "os.truncate", "shutil.rmtree", "sqlite3.connect",
}  # fmt: skip


def command(
    words: list[str],
    *,
    events_of: str | None = None,
    kill_at: int | None = None,
    kill_on: str | None = None,
    torn: float | None = None,
) -> None:
    """Run a command of `regionspot`; nothing outside this machine can be reached.

    Args:
        words: Its arguments.
        events_of: A folder whose events are counted; at the end their number is written to
            ``events`` here.
        kill_at: The process kills itself at this event, counted from 1.
        kill_on: Or at the first event of a path that has this in its name.
        torn: A file that the process then waits for keeps only this share of its bytes, as one
            that a kill cut off.
    """
    sys.addaudithook(_no_network)
    if events_of is not None:
        events = _Events(Path(events_of), kill_at, kill_on, torn)
        try:
            _main(words)
        finally:
            events.write()
    _main(words)


def _main(words: list[str]) -> None:
    sys.argv = ["regionspot", *words]
    regionspot.cli.main()


def _no_network(event: str, arguments: tuple[Any, ...]) -> None:
    if event in ("socket.connect", "socket.getaddrinfo"):
        raise OSError("a campaign has no network")


class _Events:
    def __init__(
        self, folder: Path, kill_at: int | None, kill_on: str | None, torn: float | None
    ) -> None:
        self._folder, self._to = str(folder), Path("events").resolve()
        self._kill_at, self._kill_on, self._torn = kill_at, kill_on, torn
        self._numbers = itertools.count(1)
        self._last = 0
        self._fsync = os.fsync
        os.fsync = self._synced
        sys.addaudithook(self._audited)

    def write(self) -> None:
        """Say how many there were."""
        number, self._kill_at = self._last, None
        self._to.write_text(str(number))

    def _audited(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in _COUNTED and isinstance(arguments[0], str | bytes | os.PathLike):
            path = os.fsdecode(arguments[0])
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


def make_world(*, scenes: int, seed: int) -> None:
    """Write a tiny world into ``world``."""
    from regionspot_core.tiny.world import write_world

    write_world(Path("world"), train_scenes=scenes, val_scenes=1, seed=seed)


def read_store(store: str) -> None:
    """Print a digest of all that readers get from a store, or what it is refused with."""
    from regionspot_core.cache.read.reader import FeatureCache
    from regionspot_core.errors import RegionSpotError

    digest = hashlib.sha256()
    try:
        cache = FeatureCache(store)
        batch = cache.read(np.arange(len(cache)))
        bank = cache.class_bank()
        for name, value in sorted({**vars(batch), "bank": bank.embeddings}.items()):
            digest.update(name.encode() + np.asarray(value).tobytes())
        digest.update(repr((cache.vocabulary, bank.text, cache.failed)).encode())
    except RegionSpotError as error:
        regionspot.cli._fail(str(error))
    print(digest.hexdigest())


def make_hostile(name: str, seed: int, place: str, outside: str) -> None:
    """Make the files of a hostile case here; print the command's words."""
    from campaign import hostile

    hostile.make(name, seed, place, outside)
