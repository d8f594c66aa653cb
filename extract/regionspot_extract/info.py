"""What a store holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regionspot_core.cache.markers import FailedImage, read_markers
from regionspot_core.cache.plan import CachePlan, TokenShape
from regionspot_core.cache.schema import open_group, whole_array


@dataclass(frozen=True)
class StoreInfo:
    """A summary of a store, finished or not."""

    store: Path
    images: int
    regions: int
    classes: int
    parts: int
    parts_written: int
    images_written: int
    regions_written: int
    failed: tuple[FailedImage, ...]
    shape: TokenShape
    disk_bytes: int
    """Of all files in the folder."""
    fingerprint: dict[str, Any]


def describe_store(store: Path) -> StoreInfo:
    """Summarise the store in a folder.

    Raises:
        CacheError: There is no store.
        CacheDamagedError: A commit marker is unreadable.
    """
    group, attributes = open_group(store)
    plan = CachePlan(
        region_count=whole_array(group, "region/count"),
        shape=TokenShape(**attributes["plan"]["shape"]),
        part_images=attributes["plan"]["part_images"],
    )
    written = [marker for marker in read_markers(store, plan) if marker is not None]
    return StoreInfo(
        store=store,
        images=plan.image_count,
        regions=int(plan.region_count.sum()),
        classes=len(attributes["vocabulary"]["names"]),
        parts=plan.part_count,
        parts_written=len(written),
        images_written=sum(marker.images for marker in written),
        regions_written=sum(marker.regions for marker in written),
        failed=tuple(failure for marker in written for failure in marker.failed),
        shape=plan.shape,
        disk_bytes=sum(file.stat().st_size for file in store.rglob("*") if file.is_file()),
        fingerprint=attributes["fingerprint"],
    )
