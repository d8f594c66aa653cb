"""Import of an exported zip: it becomes a store again."""

from __future__ import annotations

from regionspot_core.cache.layout.schema import GROUP
from regionspot_core.cache.location import Location
from regionspot_core.cache.maintenance.merge import Merge
from regionspot_core.cache.maintenance.zip_file import ZipFileStore
from regionspot_core.cache.storage.markers import PLAN_FILES, read_markers, require_markers
from regionspot_core.cache.storage.store import Store, open_store
from regionspot_core.errors import CacheError


def import_of(source: ZipFileStore, target: Location | Store) -> Merge:
    """Return the merge of one zip that makes it a store again, byte for byte.

    The store is unfinished, and no reader takes it, until its last part is committed. An
    interrupted import is continued, and a finished store of the same content stays.

    Args:
        source: The zip.
        target: A store to create, or the one that an interrupted import of this zip began.

    Raises:
        CacheError: If there is another store at the target.
        CacheDamagedError: If the zip is damaged.
    """
    store = open_store(target)
    if store.read(GROUP) is not None and not _is_begun_by(source, store):
        raise CacheError(
            f"{store}: expected no store, or what an import of {source} began or made, found "
            f"another store; choose another --out"
        )
    return Merge([source], store)


def _is_begun_by(source: ZipFileStore, store: Store) -> bool:
    """Return whether all that a store holds may come from an import of the zip."""
    if store.read(PLAN_FILES) != source.read(PLAN_FILES):
        return False
    markers = read_markers(store, source.plan)
    pairs = zip(markers, require_markers(source, source.plan), strict=True)
    return all(stored in (None, wanted) for stored, wanted in pairs)
