"""What a store holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from regionspot_core.cache.arrays import read_attributes, read_plan
from regionspot_core.cache.markers import FailedImage, Marker, read_complete, read_markers
from regionspot_core.cache.plan import Keep, TokenShape
from regionspot_core.cache.store import Location, open_store


@dataclass(frozen=True)
class StoreInfo:
    """A summary of a store, finished or not."""

    store: str
    images: int
    regions: int
    classes: int
    parts: int
    parts_written: int
    images_written: int
    regions_written: int
    failed: tuple[FailedImage, ...]
    shape: TokenShape
    keep: Keep
    part_images: int
    files: int
    disk_bytes: int
    """Of all its files."""
    fingerprint: dict[str, Any]


def describe_store(location: Location) -> StoreInfo:
    """Summarise the store in a folder or at a URL.

    Raises:
        CacheError: There is no store.
        CacheDamagedError: A commit marker is damaged.
    """
    store = open_store(location)
    attributes = read_attributes(store)
    plan = read_plan(store, attributes)
    sizes = store.sizes()
    complete = read_complete(store)
    written = [] if complete else [m for m in read_markers(store, plan) if m is not None]
    return StoreInfo(
        store=str(store),
        images=plan.image_count,
        regions=int(plan.region_count.sum()),
        classes=len(attributes["vocabulary"]["names"]),
        parts=plan.part_count,
        parts_written=complete.parts if complete else len(written),
        images_written=complete.images if complete else _sum(written, "images"),
        regions_written=complete.regions if complete else _sum(written, "regions"),
        failed=complete.failed if complete else tuple(f for m in written for f in m.failed),
        shape=plan.shape,
        keep=plan.keep,
        part_images=plan.part_images,
        files=len(sizes),
        disk_bytes=sum(sizes.values()),
        fingerprint=attributes["fingerprint"],
    )


def _sum(markers: list[Marker], name: str) -> int:
    return sum(getattr(marker, name) for marker in markers)
