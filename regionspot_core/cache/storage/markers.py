"""Commit markers: one for each part, written last, and one summary of a finished store.

A part without a marker does not exist.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import google_crc32c
from pydantic import ConfigDict

from regionspot_core.cache.layout.plan import CachePlan
from regionspot_core.cache.layout.schema import PARTS, PartArray, is_planned_file, part_arrays
from regionspot_core.cache.storage.sealed import read_sealed, unsealed, write_sealed
from regionspot_core.cache.storage.store import Store
from regionspot_core.errors import CacheDamagedError, CacheError
from regionspot_core.support.checksums import FileSum, seal_of, sealed
from regionspot_core.support.records import (
    KNOWN_KEYS_ONLY,
    Count,
    Crc32c,
    Crc32cs,
    shown,
    validated,
)

PLAN_FILES = f"{PARTS}/plan.json"
"""Checksums of all files that the plan alone decides, written when the store is made."""
COMPLETE = f"{PARTS}/complete.json"
NOT_OURS = "not what this project writes"


@dataclass(frozen=True)
class FailedImage:
    """An image that could not be read. Its rows in the store are zeros; readers leave it out."""

    __pydantic_config__: ClassVar[ConfigDict] = KNOWN_KEYS_ONLY

    position: Count
    file: str
    reason: str


@dataclass(frozen=True)
class Marker:
    """Content of a finished part."""

    __pydantic_config__: ClassVar[ConfigDict] = KNOWN_KEYS_ONLY

    part: Count
    images: Count
    """Images with tokens, failed ones not counted."""
    regions: Count
    failed: tuple[FailedImage, ...]
    files: dict[str, FileSum]
    """Files by array name; an array without rows in the part is missing."""
    chunks: dict[str, Crc32cs] = field(default_factory=dict)
    """``chunk_sums`` of each file (`cache/layout/shards.py`): by them a reader tells the part's
    chunks from others that are as whole. Empty in markers of earlier versions."""

    def to_json(self) -> dict[str, Any]:
        """Return the values for its file."""
        values = asdict(self)
        return values if self.chunks else {k: v for k, v in values.items() if k != "chunks"}


@dataclass(frozen=True)
class Complete:
    """A finished store in one file, so that opening it reads no marker."""

    __pydantic_config__: ClassVar[ConfigDict] = KNOWN_KEYS_ONLY

    parts: Count
    images: Count
    regions: Count
    failed: tuple[FailedImage, ...]
    markers: Crc32c
    """CRC-32C over all markers' content in order."""
    seals: Crc32cs = ""
    """The checksum that each marker ends in, one behind the other. Empty where an earlier version
    wrote a part: its markers have no sums of chunks, and no reader looks at them."""

    def to_json(self) -> dict[str, Any]:
        """Return the values for its file."""
        values = asdict(self)
        return values if self.seals else {k: v for k, v in values.items() if k != "seals"}


def marker_key(part: int) -> str:
    """Return the key of a part's marker."""
    return f"{PARTS}/{part:06d}.json"


def write_marker(store: Store, marker: Marker) -> None:
    """Commit a part: the marker is on the disk, whole, or not there."""
    write_sealed(store, marker_key(marker.part), marker.to_json())


def read_marker(store: Store, plan: CachePlan, part: int) -> Marker | None:
    """Read a part's marker; None if the part is not committed.

    Raises:
        CacheDamagedError: If the marker is there but damaged.
    """
    content = store.read(marker_key(part))
    return None if content is None else unsealed_marker(store, plan, part, content)


def read_markers(store: Store, plan: CachePlan) -> list[Marker | None]:
    """Read the marker of every part; None if it is not committed.

    Raises:
        CacheDamagedError: If a marker is there but damaged.
    """
    arrays = list(part_arrays(plan).values())
    contents = store.read_many([marker_key(part) for part in range(plan.part_count)])
    return [
        None if content is None else unsealed_marker(store, plan, part, content, arrays)
        for part, content in enumerate(contents)
    ]


def require_markers(store: Store, plan: CachePlan) -> list[Marker]:
    """Read the marker of every part of a finished store.

    Raises:
        CacheError: If parts are not written yet; the message says how many.
        CacheDamagedError: If a marker is there but damaged.
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
    """Write the summary if every part is committed, and return whether that is so."""
    markers = read_markers(store, plan)
    whole = [marker for marker in markers if marker is not None]
    if len(whole) < len(markers):
        return False
    write_sealed(store, COMPLETE, summarise(whole).to_json())
    return True


def summarise(markers: list[Marker]) -> Complete:
    """Return the summary of all parts' markers."""
    checksum = 0
    for marker in markers:
        checksum = google_crc32c.extend(checksum, sealed(marker.to_json()))
    have_chunks = all(marker.chunks for marker in markers)
    return Complete(
        parts=len(markers),
        images=sum(marker.images for marker in markers),
        regions=sum(marker.regions for marker in markers),
        failed=tuple(failure for marker in markers for failure in marker.failed),
        markers=f"{checksum:08x}",
        seals="".join(seal_of(marker.to_json()) for marker in markers) if have_chunks else "",
    )


def read_complete(store: Store, plan: CachePlan) -> Complete | None:
    """Read the summary of a finished store; None if there is none yet.

    Raises:
        CacheDamagedError: If the summary is there but damaged, or of another plan.
    """
    values = read_sealed(store, COMPLETE)
    if values is None:
        return None
    complete = validated(Complete, values, not_ours(store, COMPLETE))
    places = [failure.position for failure in complete.failed]
    seals = {0, 8 * plan.part_count}
    if (
        complete.parts != plan.part_count
        or max(places, default=0) >= plan.image_count
        or len(complete.seals) not in seals
    ):
        raise not_ours(store, COMPLETE)(f"expected {plan.part_count} parts, got {complete.parts}")
    return complete


def failed_images(store: Store, plan: CachePlan) -> tuple[FailedImage, ...]:
    """Return the images of all committed parts that could not be read, in any run.

    Raises:
        CacheDamagedError: If a marker or the summary is there but damaged.
    """
    complete = read_complete(store, plan)
    if complete is not None:
        return complete.failed
    markers = read_markers(store, plan)
    return tuple(failure for marker in markers if marker is not None for failure in marker.failed)


def write_plan_files(store: Store, files: dict[str, FileSum]) -> None:
    """Write down the files that the plan decided."""
    write_sealed(store, PLAN_FILES, {key: asdict(each) for key, each in files.items()})


def read_plan_files(store: Store) -> dict[str, FileSum]:
    """Read the list of the files that the plan decided; empty if it is missing.

    Raises:
        CacheDamagedError: If it is damaged, or names a file that no plan yields.
    """
    values = read_sealed(store, PLAN_FILES)
    if values is None:
        return {}
    files = validated(dict[str, FileSum], values, not_ours(store, PLAN_FILES))
    for key in files:
        if not is_planned_file(key):
            raise not_ours(store, PLAN_FILES)(f"it names {shown(key)}, no file of a store")
    return files


def unsealed_marker(
    store: Store,
    plan: CachePlan,
    part: int,
    content: bytes,
    arrays: Sequence[PartArray] | None = None,
) -> Marker:
    """Parse the marker in a file's content.

    Args:
        store: Where it lies, for messages.
        plan: The store's.
        part: The part whose marker it should be.
        content: The file's.
        arrays: The plan's, where many markers are read; None makes them.

    Raises:
        CacheDamagedError: If the content is damaged, another part's, or of another plan.
    """
    key = marker_key(part)
    wrong = not_ours(store, key)
    marker = validated(Marker, unsealed(content, name=f"{store}: {key}"), wrong)
    if marker.part != part:
        raise CacheDamagedError(f"{store}: {key} is the marker of part {marker.part}")
    here = plan.part(part)
    arrays = list(part_arrays(plan).values()) if arrays is None else arrays
    sizes = {each.name: size for each in arrays if (size := each.file_bytes(here))}
    sums = {each.name: 8 * each.chunk_count(here) for each in arrays if each.name in sizes}
    lost = {failure.position for failure in marker.failed}
    if (
        {name: file.size for name, file in marker.files.items()} != sizes
        or {name: len(each) for name, each in marker.chunks.items()} not in ({}, sums)
        or not lost <= set(here.images)
        or marker.images != len(here.images) - len(lost)
        or marker.regions != here.rows - sum(int(plan.region_count[image]) for image in lost)
    ):
        raise damaged(store, key, "of another plan")
    return marker


def damaged(store: object, key: str, how: str) -> CacheDamagedError:
    """Return the error of one file that is not what was written."""
    return CacheDamagedError(
        f"{store}: {key} is {how}; `regionspot extract verify` tells what else is"
    )


def not_ours(store: object, key: str) -> Callable[[str], CacheDamagedError]:
    """Return a function that makes the error of a file with a right checksum and wrong content."""
    return lambda problem: damaged(store, key, f"{NOT_OURS} ({problem})")
