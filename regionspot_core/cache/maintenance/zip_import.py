"""Import of an exported zip: it becomes a store again."""

from __future__ import annotations

from collections.abc import Callable

from regionspot_core.cache.layout.schema import GROUP
from regionspot_core.cache.location import Location
from regionspot_core.cache.maintenance.copying import Copied, copy_parts, create_copy
from regionspot_core.cache.maintenance.zip_file import ZipFileStore
from regionspot_core.cache.storage.markers import PLAN_FILES, Marker, read_markers, require_markers
from regionspot_core.cache.storage.store import Store, open_store
from regionspot_core.cache.writer import CacheWriter
from regionspot_core.errors import CacheError


class Import:
    """An exported zip, and the store that it becomes, byte for byte.

    The store is unfinished, and no reader takes it, until its last part is committed. An
    interrupted import is continued, and a finished store of the same content stays.

    Args:
        source: The zip.
        target: A store to create, or the one that an interrupted import of this zip began.

    Raises:
        CacheError: If there is another store at the target.
        CacheDamagedError: If the zip is damaged.
    """

    def __init__(self, source: ZipFileStore, target: Location | Store) -> None:
        store = open_store(target)
        self._source = source
        self._markers = require_markers(source, source.plan)
        if store.read(GROUP) is not None:
            _require_begun_by(source, self._markers, store)
        create_copy(source, store)
        self._writer = CacheWriter(store, source.plan)
        self._pending = [part.index for part in self._writer.pending()]

    @property
    def nbytes(self) -> int:
        """Bytes of all parts."""
        return sum(Copied(self._source, marker).nbytes for marker in self._markers)

    @property
    def nbytes_written(self) -> int:
        """Bytes of the parts that the target has already."""
        return self.nbytes - sum(self._part(index).nbytes for index in self._pending)

    def run(self, on_bytes: Callable[[int], None]) -> int:
        """Write the parts that the target lacks, and return their number.

        Raises:
            CacheDamagedError: If the zip's files do not match their checksums.
            CacheError: If the store cannot be written.
        """
        copied = copy_parts(
            self._writer, {index: self._part(index) for index in self._pending}, on_bytes
        )
        self._writer.finish()
        return copied

    def _part(self, index: int) -> Copied:
        return Copied(self._source, self._markers[index])


def _require_begun_by(source: ZipFileStore, markers: list[Marker], store: Store) -> None:
    """Refuse a store that no import of the zip began or made."""
    same = store.read(PLAN_FILES) == source.read(PLAN_FILES)
    if same:
        pairs = zip(read_markers(store, source.plan), markers, strict=True)
        same = all(stored in (None, wanted) for stored, wanted in pairs)
    if not same:
        raise CacheError(
            f"{store}: expected no store, or what an import of {source} began or made, found "
            f"another store; choose another --out"
        )
