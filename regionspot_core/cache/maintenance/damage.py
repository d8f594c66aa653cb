"""Damage to a store's files, and the images that it hits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from regionspot_core.cache.layout.plan import CachePlan, Part
from regionspot_core.cache.layout.schema import PartArray
from regionspot_core.cache.layout.shards import damaged_chunks, foreign_chunks
from regionspot_core.cache.layout.small import read_small
from regionspot_core.cache.storage.store import Store
from regionspot_core.errors import CacheError
from regionspot_core.support.checksums import FileSum


@dataclass(frozen=True)
class HitImage:
    """An image whose tokens are damaged."""

    position: int
    """Index in the annotations."""
    id: int | None
    """Id in the annotation file; None if the store's list of ids is damaged."""
    file: str | None
    """Name of its file; None if the store's list of names is damaged."""


@dataclass(frozen=True)
class Damage:
    """A file that is not what was written."""

    key: str
    problem: str
    part: int | None = None
    """None for a file of the plan."""
    images: tuple[HitImage, ...] = ()
    """Images of the part that cannot be read because of it."""


class Images:
    """The names of a store's images, as far as they can be read."""

    def __init__(self, store: Store, plan: CachePlan, files: dict[str, FileSum]) -> None:
        self._store = store
        self._files_of_plan = files
        self._count = plan.image_count

    def at(self, positions: list[int]) -> tuple[HitImage, ...]:
        """Return the images at these positions."""
        ids, files = self._ids, self._files
        return tuple(
            HitImage(
                position,
                None if ids is None else int(ids[position]),
                None if files is None else files[position],
            )
            for position in positions
        )

    @cached_property
    def _ids(self) -> NDArray[np.int64] | None:
        try:
            ids = read_small(self._store, "image/id", self._files_of_plan)
        except CacheError:
            return None
        return ids if len(ids) == self._count else None

    @cached_property
    def _files(self) -> list[str] | None:
        try:
            text = read_small(self._store, "image/file", self._files_of_plan).tobytes()
            starts = read_small(self._store, "image/file_start", self._files_of_plan).tolist()
        except CacheError:
            return None
        names = [text[start:stop].decode(errors="replace") for start, stop in pairwise(starts)]
        return names if len(names) == self._count else None


def damage_in_shard(
    store: Store, plan: CachePlan, array: PartArray, part: Part, sums: str | None
) -> tuple[str, list[int]]:
    """Return the problem of a part's file of the right size, and the positions of its images.

    Each chunk of the file carries a checksum. ``sums`` are the checksums in the part's marker,
    which find chunks of another image; None if it has none.
    """
    all_images = images_of(plan, array, part, None)
    content = store.read(array.file(part.index)) or b""
    places = math.prod(array.shard) // math.prod(array.chunk)
    damaged = damaged_chunks(content, places=places)
    if damaged is None:
        return "its index of chunks is damaged, so none of them can be found", all_images
    if damaged:
        hit = images_of(plan, array, part, damaged)
        return f"{len(damaged)} of its chunks damaged", hit
    foreign = foreign_chunks(content, places=places, sums=sums) if sums else []
    hit = images_of(plan, array, part, foreign) if foreign else all_images
    return "its chunks are whole, but not the part's: it is another part's file", hit


def images_of(plan: CachePlan, array: PartArray, part: Part, places: list[int] | None) -> list[int]:
    """Return the positions of the images with values in chunks of a part's file; None: in any."""
    if places is None and not array.of_regions:
        return list(part.images)
    if places is None:
        return [position for position in part.images if plan.region_count[position]]
    grid = [length // chunk for length, chunk in zip(array.shard, array.chunk, strict=True)]
    chunks = set(np.unravel_index(places, grid)[0].tolist())
    if not array.of_regions:
        return [position for position in part.images if position - part.image_start in chunks]
    return [
        position
        for position in part.images
        if plan.region_count[position]
        and not chunks.isdisjoint(_row_chunks(plan, array, part, position))
    ]


def _row_chunks(plan: CachePlan, array: PartArray, part: Part, position: int) -> range:
    start = int(plan.region_start[position]) - part.row_start
    last = start + int(plan.region_count[position]) - 1
    return range(start // array.chunk[0], last // array.chunk[0] + 1)
