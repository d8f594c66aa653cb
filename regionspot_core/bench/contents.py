"""What the generated stores hold: values that look like CLIP's and SAM's, and are fast to make."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from regionspot_core.cache.markers import Marker, marker_path
from regionspot_core.cache.plan import CachePlan, TokenShape
from regionspot_core.cache.writer import CacheWriter, PartFeatures
from regionspot_core.testing import make_annotations, make_bank

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

    @cached_property
    def plan(self) -> CachePlan:
        """Where they lie in a store."""
        counts = np.full(self.images, self.regions, dtype=np.int64)
        return CachePlan(counts, self.shape, self.part_images)

    def with_parts(self, count: int) -> Contents:
        """As many parts of the size that `extract run` writes, bytes considered."""
        images = max(1, min(WRITTEN_IMAGES, WRITTEN_BYTES // self.shape.image_bytes))
        return replace(self, images=count * images, part_images=images)

    def parts(self) -> Iterator[PartFeatures]:
        """Every part's features, no two alike, the same at each call."""
        for index in range(self.plan.part_count):
            yield self.part(index)

    def part(self, index: int) -> PartFeatures:
        """A part's features: the first one's, moved along by its number."""
        place = self.plan.part(index)
        image_tokens, region_tokens, region_iou = self._base
        return PartFeatures(
            image_tokens=np.roll(image_tokens, index, axis=1)[: len(place.images)],
            region_tokens=np.roll(region_tokens, index, axis=0)[: place.rows],
            region_iou=np.roll(region_iou, index, axis=0)[: place.rows],
        )

    @cached_property
    def _base(self) -> tuple[NDArray[np.float16], NDArray[np.float16], NDArray[np.float16]]:
        rng, shape = np.random.default_rng(0), self.shape
        image_tokens = rng.standard_normal(
            (self.part_images, shape.image_tokens, shape.image_width), dtype=np.float32
        )
        image_tokens[..., :LARGE_CHANNELS] *= 100
        rows = self.part_images * self.regions
        region_tokens = rng.standard_normal((rows, shape.region_tokens, shape.region_width))
        region_iou = rng.random((rows, shape.region_tokens - 1))
        return (
            image_tokens.astype(np.float16),
            region_tokens.astype(np.float16),
            region_iou.astype(np.float16),
        )


def create_store(store: Path, plan: CachePlan) -> CacheWriter:
    """An empty store of the plan, with annotations and class embeddings made up."""
    annotations = make_annotations(plan.region_count.tolist())
    return CacheWriter.open_or_create(
        store,
        plan=plan,
        annotations=annotations,
        make_bank=lambda: make_bank(annotations.vocabulary),
        fingerprint=FINGERPRINT,
    )


def write_markers_alone(store: Path, plan: CachePlan) -> None:
    """Commit every part without writing it or waiting for the disk: enough to open the store."""
    for index in range(plan.part_count):
        part = plan.part(index)
        marker = Marker(index, len(part.images), part.rows, (), {})
        marker_path(store, index).write_text(json.dumps(asdict(marker)))
