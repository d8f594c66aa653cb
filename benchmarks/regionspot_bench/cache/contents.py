"""What the generated stores hold: values that look like CLIP's and SAM's, and are fast to make."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from regionspot_core.cache.layout.keep import Keep, TokenShape
from regionspot_core.cache.layout.plan import CachePlan
from regionspot_core.cache.layout.schema import part_arrays
from regionspot_core.cache.storage.markers import Marker, marker_key, write_complete
from regionspot_core.cache.storage.store import open_store
from regionspot_core.cache.writer import CacheWriter, PartFeatures
from regionspot_core.support.checksums import FileSum, sealed
from regionspot_core.testing import make_annotations, make_bank

Dtype = Literal["float16", "int8"]

LARGE_CHANNELS = 4
"""CLIP has a few channels with values a hundred times the others'."""
WRITTEN_IMAGES = 256
"""The default of `extract run`."""
WRITTEN_BYTES = 80_000_000
"""So large is a part of B/16; one of L/14@336 is made no larger here, to spare disk and time."""
FINGERPRINT = {"backbones": {}, "dataset": {}, "made for": "a benchmark"}


@dataclass(frozen=True)
class Contents:
    """The features of ``images`` images with ``regions`` regions each, in parts."""

    shape: TokenShape
    images: int
    regions: int
    part_images: int
    dtype: Dtype = "float16"

    @cached_property
    def plan(self) -> CachePlan:
        """Plan of a store that holds them."""
        counts = np.full(self.images, self.regions, dtype=np.int64)
        return CachePlan(counts, self.shape, self.part_images, Keep(dtype=self.dtype))

    @property
    def image_bytes(self) -> int:
        """Bytes of an image's CLIP tokens, as delivered."""
        return 2 * self.shape.image_tokens * self.shape.image_width

    @property
    def region_bytes(self) -> int:
        """Bytes of a region's SAM tokens, as delivered."""
        return 2 * self.shape.region_tokens * self.shape.region_width

    def as_int8(self) -> Contents:
        """Return the same contents, stored in a byte a value."""
        return replace(self, dtype="int8")

    def with_parts(self, count: int) -> Contents:
        """Return contents of ``count`` parts of the bytes that `extract run` gives a part."""
        images = max(1, min(WRITTEN_IMAGES, WRITTEN_BYTES // self.image_bytes))
        return replace(self, images=count * images, part_images=images)

    def parts(self) -> Iterator[PartFeatures]:
        """Yield every part's features, no two alike, the same at each call."""
        for index in range(self.plan.part_count):
            yield self.part(index)

    def part(self, index: int) -> PartFeatures:
        """Return a part's features: the first one's, moved along by its number."""
        place = self.plan.part(index)
        return PartFeatures(
            {
                name: np.roll(values, index, axis=1)[
                    : place.rows if name.startswith("region/") else len(place.images)
                ]
                for name, values in self._base.items()
            }
        )

    @cached_property
    def _base(self) -> dict[str, NDArray[np.float16]]:
        rng, shape = np.random.default_rng(0), self.shape
        rows = self.part_images * self.regions
        lengths = {
            "clip/tokens": (self.part_images, shape.image_tokens, shape.image_width),
            "region/tokens": (rows, shape.region_tokens, shape.region_width),
            "region/iou": (rows, shape.ious),
        }
        drawn = {
            name: rng.standard_normal(length, dtype=np.float32) for name, length in lengths.items()
        }
        drawn["clip/tokens"][..., :LARGE_CHANNELS] *= 100
        return {name: values.astype(np.float16) for name, values in drawn.items()}


def create_store(store: Path, plan: CachePlan) -> CacheWriter:
    """Create an empty store of the plan, with made-up annotations and class embeddings."""
    annotations = make_annotations(plan.region_count.tolist())
    return CacheWriter.open_or_create(
        store,
        plan=plan,
        annotations=annotations,
        make_bank=lambda: make_bank(annotations.vocabulary),
        fingerprint=FINGERPRINT,
    )


def commit_unwritten(store: Path, plan: CachePlan) -> None:
    """Commit every part without writing it or waiting for the disk: enough to open the store."""
    arrays = list(part_arrays(plan).values())
    for part in plan.parts():
        sizes = {each.name: each.file_bytes(part) for each in arrays}
        files = {name: FileSum(size, "0" * 16) for name, size in sizes.items() if size}
        chunks = {
            each.name: "00000000" * each.chunk_count(part) for each in arrays if sizes[each.name]
        }
        marker = Marker(part.index, len(part.images), part.rows, (), files, chunks)
        (store / marker_key(part.index)).write_bytes(sealed(marker.to_json()))
    write_complete(open_store(store), plan)
