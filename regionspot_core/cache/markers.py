"""What is committed: a marker a part, written last, and one summary once all parts are there.

A part without a marker does not exist.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import google_crc32c
import xxhash

from regionspot_core.cache.plan import CachePlan
from regionspot_core.cache.schema import PARTS
from regionspot_core.cache.sealed import read_sealed, sealed, unsealed, write_sealed
from regionspot_core.cache.store import Store
from regionspot_core.errors import CacheDamagedError, CacheError

PLAN_FILES = f"{PARTS}/plan.json"
"""Checksums of all files that the plan alone decides, written when the store is made."""
COMPLETE = f"{PARTS}/complete.json"


@dataclass(frozen=True)
class FailedImage:
    """An image that could not be read. Its rows in the store are zeros; readers leave it out."""

    position: int
    file: str
    reason: str


@dataclass(frozen=True)
class FileSum:
    """What tells that a file is whole, and no other.

    Not a CRC: one of content that ends in its own CRC, as every chunk of ours does, is the same
    number whatever the content, so that two parts' files would have the same sum.
    """

    size: int
    """Bytes."""
    xxh3: str
    """XXH3 of the whole file, 64 bits in 16 hexadecimal digits (xxhash.com)."""

    @classmethod
    def of(cls, pieces: Iterable[Any]) -> FileSum:
        """The sum of a file's content, given piece by piece as buffers of bytes."""
        size, total = 0, xxhash.xxh3_64()
        for piece in pieces:
            size += len(piece)
            total.update(piece)
        return cls(size, total.hexdigest())


@dataclass(frozen=True)
class Marker:
    """What a finished part holds."""

    part: int
    images: int
    """Images with tokens, failed ones not counted."""
    regions: int
    failed: tuple[FailedImage, ...]
    files: dict[str, FileSum]
    """By array name; an array the part has no rows of is missing."""


@dataclass(frozen=True)
class Complete:
    """A finished store in one file, so that opening it reads no marker."""

    parts: int
    images: int
    regions: int
    failed: tuple[FailedImage, ...]
    markers: str
    """CRC-32C over all markers' content in order."""


def marker_key(part: int) -> str:
    """Where the part's marker is, or will be."""
    return f"{PARTS}/{part:06d}.json"


def write_marker(store: Store, marker: Marker) -> None:
    """Commit a part: the marker is on the disk, whole, or not there."""
    write_sealed(store, marker_key(marker.part), asdict(marker))


def read_marker(store: Store, part: int) -> Marker | None:
    """The part's marker, or None where the part is not committed.

    Raises:
        CacheDamagedError: The marker is there but damaged.
    """
    content = store.read(marker_key(part))
    return None if content is None else unsealed_marker(store, part, content)


def read_markers(store: Store, plan: CachePlan) -> list[Marker | None]:
    """The marker of every part, None where it is not committed.

    Raises:
        CacheDamagedError: A marker is there but damaged.
    """
    contents = store.read_many([marker_key(part) for part in range(plan.part_count)])
    return [
        None if content is None else unsealed_marker(store, part, content)
        for part, content in enumerate(contents)
    ]


def require_markers(store: Store, plan: CachePlan) -> list[Marker]:
    """The marker of every part of a finished store.

    Raises:
        CacheError: Parts are not written yet; says how many.
        CacheDamagedError: A marker is there but damaged.
    """
    markers = read_markers(store, plan)
    whole = [marker for marker in markers if marker is not None]
    if len(whole) < len(markers):
        raise CacheError(
            f"{store}: {len(markers) - len(whole)} of {plan.part_count} parts are not written yet; "
            f"run the same `regionspot extract run` again to finish the store"
        )
    return whole


def write_complete(store: Store, plan: CachePlan) -> bool:
    """Write the summary if every part is committed; whether it is."""
    markers = read_markers(store, plan)
    whole = [marker for marker in markers if marker is not None]
    if len(whole) < len(markers):
        return False
    write_sealed(store, COMPLETE, asdict(summarise(whole)))
    return True


def summarise(markers: list[Marker]) -> Complete:
    """The summary of all parts' markers."""
    checksum = 0
    for marker in markers:
        checksum = google_crc32c.extend(checksum, sealed(asdict(marker)))
    return Complete(
        parts=len(markers),
        images=sum(marker.images for marker in markers),
        regions=sum(marker.regions for marker in markers),
        failed=tuple(failure for marker in markers for failure in marker.failed),
        markers=f"{checksum:08x}",
    )


def read_complete(store: Store) -> Complete | None:
    """The summary of a finished store; None where it is not finished, or was cut off before.

    Raises:
        CacheDamagedError: The summary is there but damaged.
    """
    values = read_sealed(store, COMPLETE)
    if values is None:
        return None
    with _right_kind(f"{store}: {COMPLETE}"):
        return Complete(**values | {"failed": _failed(values)})


def failed_images(store: Store, plan: CachePlan) -> tuple[FailedImage, ...]:
    """The images of all committed parts that could not be read, whichever run did the parts.

    Raises:
        CacheDamagedError: A marker or the summary is there but damaged.
    """
    complete = read_complete(store)
    if complete is not None:
        return complete.failed
    markers = read_markers(store, plan)
    return tuple(failure for marker in markers if marker is not None for failure in marker.failed)


def write_plan_files(store: Store, files: dict[str, FileSum]) -> None:
    """Write down the files that the plan decided."""
    write_sealed(store, PLAN_FILES, {key: asdict(each) for key, each in files.items()})


def read_plan_files(store: Store) -> dict[str, FileSum]:
    """The files that the plan decided; empty where that file is missing.

    Raises:
        CacheDamagedError: It is damaged.
    """
    values = read_sealed(store, PLAN_FILES) or {}
    with _right_kind(f"{store}: {PLAN_FILES}"):
        return {key: FileSum(**each) for key, each in values.items()}


def unsealed_marker(store: Store, part: int, content: bytes) -> Marker:
    """The marker in a file's content.

    Raises:
        CacheDamagedError: The content is damaged, or another part's.
    """
    name = f"{store}: {marker_key(part)}"
    values = unsealed(content, name=name)
    with _right_kind(name):
        files = {key: FileSum(**each) for key, each in values["files"].items()}
        marker = Marker(**values | {"failed": _failed(values), "files": files})
    if marker.part != part:
        raise CacheDamagedError(f"{name} is the marker of part {marker.part}")
    return marker


@contextmanager
def _right_kind(name: str) -> Iterator[None]:
    """Refuse a whole file that was written as another."""
    try:
        yield
    except (TypeError, LookupError, AttributeError):
        raise CacheDamagedError(f"{name} is a file of another kind") from None


def _failed(values: dict[str, Any]) -> tuple[FailedImage, ...]:
    return tuple(FailedImage(**image) for image in values["failed"])
