"""Merging stores of one plan, each with some of its parts, into one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from regionspot_core.cache.layout.schema import CHUNK, CLASS_LISTS, start_name
from regionspot_core.cache.location import Location
from regionspot_core.cache.maintenance.copying import Copied, copy_parts, create_copy
from regionspot_core.cache.storage.arrays import read_header
from regionspot_core.cache.storage.markers import FailedImage, Marker, failed_images, read_markers
from regionspot_core.cache.storage.store import Store, open_store
from regionspot_core.cache.writer import CacheWriter
from regionspot_core.errors import InputError
from regionspot_core.fingerprint import require_equal

MAY_DIFFER = "image/bytes"
"""The one planned array that tells of a machine's own image files."""

LISTS = tuple(each for name in CLASS_LISTS for each in (name, start_name(name)))


@dataclass(frozen=True)
class MergeReport:
    """Result of a merge."""

    parts: int
    parts_before: int
    """Parts that the target had before."""
    parts_copied: int
    parts_in_several: int
    """Parts that more than one of the stores have."""
    parts_differing: int
    """Parts in several stores whose bytes differ: made on machines that round otherwise. The first
    store's are taken."""
    missing: tuple[int, ...]
    """Parts that the target still lacks."""
    failed: tuple[FailedImage, ...]
    """Images of the target's parts that could not be read when they were extracted."""


class Merge:
    """Stores to merge, checked against each other and against what the target holds.

    A part is copied from the first store that has it committed.

    Args:
        sources: The stores, finished or not.
        target: A store to create, or one of the same plan to go on with.

    Raises:
        FingerprintError: If they were not made by the same run; the fields are named.
        CacheError: If one is no store.
    """

    def __init__(self, sources: Sequence[Location | Store], target: Location | Store) -> None:
        if not sources:
            raise InputError("a merge needs at least one store, got none")
        self._sources = [open_store(source) for source in sources]
        self._store = open_store(target)
        first, *rest = self._sources
        made = _made_from(first)
        for other in rest:
            _require_same(first, made, other)
        create_copy(first, self._store)
        _require_same(first, made, self._store)
        plan = read_header(self._store).plan
        self._writer = CacheWriter(self._store, plan)
        held = [read_markers(source, plan) for source in self._sources]
        self._committed = [
            [
                Copied(source, marker)
                for source, marker in zip(self._sources, of_part, strict=True)
                if marker is not None
            ]
            for of_part in zip(*held, strict=True)
        ]
        self._pending = [part.index for part in self._writer.pending()]
        self._wanted = {
            part: self._committed[part][0] for part in self._pending if self._committed[part]
        }

    @property
    def nbytes(self) -> int:
        """Bytes to copy."""
        return sum(part.nbytes for part in self._wanted.values())

    def run(self, on_bytes: Callable[[int], None]) -> MergeReport:
        """Copy and commit the parts; after an interruption, a new merge goes on.

        Raises:
            CacheDamagedError: If a file to copy is missing or damaged; it is named.
            CacheError: If the target cannot be written.
        """
        copied = copy_parts(self._writer, self._wanted, on_bytes)
        missing = tuple(part.index for part in self._writer.pending())
        self._writer.finish()
        several = [[each.marker for each in part] for part in self._committed if len(part) > 1]
        return MergeReport(
            parts=len(self._committed),
            parts_before=len(self._committed) - len(self._pending),
            parts_copied=copied,
            parts_in_several=len(several),
            parts_differing=sum(_differ(markers) for markers in several),
            missing=missing,
            failed=failed_images(self._store, self._writer.plan),
        )


def _made_from(store: Store) -> dict[str, Any]:
    """Return the record that stores must share to be merged."""
    header = read_header(store)
    arrays: dict[str, list[str]] = {}
    for key, file in sorted(header.files.items()):
        name, chunk, _ = key.partition(CHUNK)
        # The metadata and the class bank are left out: versions of zarr-python differ in the
        # former's text, and processors in the latter's last bits.
        if chunk and name != MAY_DIFFER:
            arrays.setdefault(name, []).append(file.xxh3)
    return {
        "fingerprint": header.attributes["fingerprint"],
        "plan": header.attributes["plan"],
        "checksum": {name: " ".join(sums) for name, sums in arrays.items()},
    }


def _require_same(first: Store, made: dict[str, Any], other: Store) -> None:
    made_other = _made_from(other)
    sums = made["checksum"], made_other["checksum"]
    # Earlier versions wrote no lists of classes, and all else is the same.
    lack = {name for name in LISTS if not all(name in each for each in sums)}
    made, made_other = (
        {**each, "checksum": {k: v for k, v in each["checksum"].items() if k not in lack}}
        for each in (made, made_other)
    )
    require_equal(
        made,
        made_other,
        what=f"{first} and {other} are not parts of one store",
        advice="Merge stores that the same command made, each with other parts",
    )


def _differ(markers: list[Marker]) -> bool:
    return any(marker.files != markers[0].files for marker in markers[1:])
