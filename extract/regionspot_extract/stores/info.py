"""What a store holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from regionspot_core.cache.layout.keep import Keep, TokenShape
from regionspot_core.cache.location import Location
from regionspot_core.cache.storage.arrays import read_header
from regionspot_core.cache.storage.markers import (
    FailedImage,
    read_complete,
    read_markers,
    summarise,
)
from regionspot_core.cache.storage.store import open_store


@dataclass(frozen=True)
class StoreInfo:
    """A summary of a store, finished or not."""

    store: str
    images: int
    regions: int
    classes: int
    parts: int
    parts_written: int
    complete: bool
    """Whether all parts are written, and the store says so."""
    images_written: int
    regions_written: int
    failed: tuple[FailedImage, ...]
    shape: TokenShape
    keep: Keep
    part_images: int
    files: int
    disk_bytes: int
    """Bytes of the plan's files and of the committed parts, by their checksums."""
    fingerprint: dict[str, Any]


def describe_store(location: Location) -> StoreInfo:
    """Summarise the store in a folder or at a URL.

    Raises:
        CacheError: There is no store.
        CacheDamagedError: A commit marker is damaged.
    """
    store = open_store(location)
    header = read_header(store)
    attributes, plan = header.attributes, header.plan
    written = [marker for marker in read_markers(store, plan) if marker is not None]
    files = [*header.files.values(), *(f for m in written for f in m.files.values())]
    return StoreInfo(
        store=str(store),
        images=plan.image_count,
        regions=int(plan.region_count.sum()),
        classes=len(attributes["vocabulary"]["names"]),
        parts=plan.part_count,
        parts_written=len(written),
        complete=len(written) == plan.part_count
        and read_complete(store, plan) == summarise(written),
        images_written=sum(marker.images for marker in written),
        regions_written=sum(marker.regions for marker in written),
        failed=tuple(failure for marker in written for failure in marker.failed),
        shape=plan.shape,
        keep=plan.keep,
        part_images=plan.part_images,
        files=len(files),
        disk_bytes=sum(file.size for file in files),
        fingerprint=attributes["fingerprint"],
    )
