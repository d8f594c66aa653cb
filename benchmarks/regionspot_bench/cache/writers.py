"""The writers that are compared. What they have written is on the disk when they return."""

from __future__ import annotations

import os
import time
from pathlib import Path

from regionspot_bench.cache.contents import Contents, create_store


class PartWriter:
    """Ours: a part with its checksums and its commit marker."""

    name = "CacheWriter"

    def __init__(self, store: Path, contents: Contents) -> None:
        self._writer = create_store(store, contents.plan)
        self._features = contents.part(0)

    def write(self, number: int) -> None:
        """Write part ``number``."""
        self._writer.write(self._writer.plan.part(number), self._features)


class PlainWriter:
    """``numpy.tofile`` of the same bytes into one file, and nothing else."""

    name = "numpy.tofile"

    def __init__(self, folder: Path, contents: Contents) -> None:
        folder.mkdir()
        self._folder = folder
        self._arrays = list(contents.part(0).arrays.values())
        self.bytes = sum(array.nbytes for array in self._arrays)
        self.unsynced_seconds: list[float] = []
        """Seconds of each file, before waiting for the disk."""

    def write(self, number: int) -> None:
        """Write file ``number``."""
        began = time.perf_counter()
        with (self._folder / str(number)).open("wb") as file:
            for array in self._arrays:
                array.tofile(file)
            file.flush()
            self.unsynced_seconds.append(time.perf_counter() - began)
            os.fsync(file.fileno())
