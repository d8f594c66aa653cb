"""Copying a store's files into another store, each held against its checksum on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from regionspot_core.cache.layout.schema import GROUP, part_arrays
from regionspot_core.cache.storage.claims import claims_on, retry_held
from regionspot_core.cache.storage.markers import PLAN_FILES, Marker, read_plan_files, write_marker
from regionspot_core.cache.storage.store import FolderStore, Store
from regionspot_core.cache.writer import CacheWriter, created_aside
from regionspot_core.errors import CacheDamagedError
from regionspot_core.support.checksums import FileSum


class Copied(NamedTuple):
    """A part to copy, and its source."""

    source: Store
    marker: Marker

    @property
    def nbytes(self) -> int:
        """Bytes of its files."""
        return sum(file.size for file in self.marker.files.values())


def read_checked(store: Store, key: str, wanted: FileSum) -> bytes:
    """Read a whole file and check it.

    Raises:
        CacheDamagedError: If it is missing, or does not match its checksum.
    """
    content = store.read(key)
    if content is None or FileSum.of([content]) != wanted:
        state = "missing" if content is None else "damaged"
        raise CacheDamagedError(
            f"{store}: {key} is {state}; `regionspot extract verify` tells what else is"
        )
    return content


def require_plan_files(store: Store) -> dict[str, FileSum]:
    """Read the list of the files that the plan decided.

    Raises:
        CacheDamagedError: If their list is missing or damaged.
    """
    files = read_plan_files(store)
    if GROUP not in files:
        raise CacheDamagedError(f"{store}: {PLAN_FILES} is missing")
    return files


def create_copy(source: Store, target: Store) -> None:
    """Create a store of the source's plan, without parts; one that is there stays as it is."""
    if target.read(GROUP) is not None:
        return
    with claims_on(target).whole():
        if target.read(GROUP) is not None:
            return
        with created_aside(target) as folder:
            built = FolderStore(folder)
            for key, wanted in require_plan_files(source).items():
                built.write(key, [read_checked(source, key, wanted)])
            built.write(PLAN_FILES, [source.read(PLAN_FILES) or b""])


def copy_parts(
    target: CacheWriter, parts: dict[int, Copied], on_bytes: Callable[[int], None]
) -> int:
    """Copy and commit parts, and wait for the parts that another run holds.

    Args:
        target: The store to fill.
        parts: Parts to copy, by index.
        on_bytes: Called with the number of bytes that each copied part adds.

    Returns:
        Number of parts copied here.

    Raises:
        CacheDamagedError: If a source's file is missing or damaged; the part is not committed.
        CacheError: If the target cannot be written.
    """
    copied = 0

    def attempt(indices: Sequence[int]) -> list[int]:
        nonlocal copied
        held = []
        for index in indices:
            part = target.plan.part(index)
            with target.claim(part) as is_held:
                if not is_held:
                    held.append(index)
                    continue
                if not target.is_committed(part):
                    _copy_part(target, parts[index])
                    copied += 1
                on_bytes(parts[index].nbytes)
        return held

    retry_held(list(parts), attempt, what=str(target.store))
    return copied


def _copy_part(target: CacheWriter, part: Copied) -> None:
    arrays = part_arrays(target.plan)
    for name, wanted in part.marker.files.items():
        key = arrays[name].file(part.marker.part)
        target.store.write(key, [read_checked(part.source, key, wanted)])
    write_marker(target.store, part.marker)
