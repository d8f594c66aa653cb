"""Export of a finished store to one file, whatever the file's format."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path

from regionspot_core.cache.layout.schema import part_arrays
from regionspot_core.cache.location import Location
from regionspot_core.cache.maintenance.copying import read_checked, require_plan_files
from regionspot_core.cache.storage.arrays import read_header
from regionspot_core.cache.storage.markers import PLAN_FILES, Marker, marker_key, require_markers
from regionspot_core.cache.storage.store import Store, open_store
from regionspot_core.errors import CacheError, InputError
from regionspot_core.support.checksums import FileSum
from regionspot_core.support.error_text import reason_of
from regionspot_core.support.files import require_place_for_file, written_aside


class Export(ABC):
    """A finished store, to be written to one file.

    Raises:
        CacheError: If there is no store, or parts of it are not written yet.
    """

    def __init__(self, location: Location | Store) -> None:
        self._store = open_store(location)
        header = read_header(self._store)
        self._attributes, self._plan = header.attributes, header.plan
        self._markers = require_markers(self._store, self._plan)
        self._arrays = part_arrays(self._plan)

    @property
    def parts(self) -> int:
        """Number of parts."""
        return len(self._markers)

    @property
    def nbytes(self) -> int:
        """Bytes of all parts' files."""
        return sum(file.size for marker in self._markers for file in marker.files.values())

    @abstractmethod
    def is_at(self, path: Path) -> bool:
        """Return whether an export of this very store is at the path; it is not read whole."""

    def write(self, path: Path, on_bytes: Callable[[int], None]) -> None:
        """Write the file, whole or not at all; one file of the store is in memory at a time.

        Args:
            path: Place of a new file.
            on_bytes: Called with how many more bytes of the store's parts are written.

        Raises:
            InputError: If something is at the path, or its folder is missing.
            CacheDamagedError: If a file of the store is missing or damaged.
            CacheError: If the file cannot be written.
        """
        require_place_for_file(path, option="--out")
        if path.exists():
            raise InputError(f"--out {path}: expected a new file, there is a file of that name")
        try:
            with written_aside(path) as partial:
                self._write(partial, on_bytes)
        except OSError as error:
            raise CacheError(f"{path}: the file cannot be written ({reason_of(error)})") from None

    @abstractmethod
    def _write(self, path: Path, on_bytes: Callable[[int], None]) -> None:
        """Write the file at the path, which nothing is at yet."""

    def _marks(self, file_format: str) -> dict[str, str]:
        """Return what says, in a file of values, which store's they are."""
        sealed = [content or b"" for content in self._store.read_many(self._sealed_keys())]
        return {
            "format": file_format,
            "fingerprint": json.dumps(self._attributes["fingerprint"]),
            "store": FileSum.of(sealed).xxh3,
        }

    def _sealed_keys(self) -> list[str]:
        """Return the keys of the files that have the checksums of all others."""
        return [PLAN_FILES, *(marker_key(marker.part) for marker in self._markers)]

    def _plan_files(self) -> Iterator[tuple[str, bytes]]:
        """Yield the key and content of each file that the plan decided."""
        for key, wanted in require_plan_files(self._store).items():
            yield key, read_checked(self._store, key, wanted)

    def _part_files(self, marker: Marker) -> Iterator[tuple[str, str, bytes]]:
        """Yield the array, key and content of each file of a part."""
        for name, wanted in marker.files.items():
            key = self._arrays[name].file(marker.part)
            yield name, key, read_checked(self._store, key, wanted)
