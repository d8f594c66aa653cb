"""What the campaign does in forks of its own: commands, killed at a chosen event or not.

What an event is: `file_events`.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
from file_events import FileEvents

import regionspot.cli


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
        kill_at: As of `FileEvents`.
        kill_on: As of `FileEvents`.
        torn: As of `FileEvents`.
    """
    sys.addaudithook(_no_network)
    if events_of is not None:
        events, to = FileEvents(Path(events_of), kill_at, kill_on, torn), Path("events").resolve()
        try:
            _main(words)
        finally:
            to.write_text(str(events.end()))
    _main(words)


def _main(words: list[str]) -> None:
    sys.argv = ["regionspot", *words]
    regionspot.cli.main()


def _no_network(event: str, arguments: tuple[Any, ...]) -> None:
    if event in ("socket.connect", "socket.getaddrinfo"):
        raise OSError("a campaign has no network")


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
