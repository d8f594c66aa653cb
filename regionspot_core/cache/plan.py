"""The plan of a cache: every shape and offset, known before any model runs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

REGION_CHUNK = 16
"""Region rows in one inner chunk: a random image touches one or two."""


@dataclass(frozen=True)
class TokenShape:
    """The shapes of one image's and one region's tokens."""

    image_tokens: int
    """T"""
    image_width: int
    """C"""
    region_tokens: int
    """M"""
    region_width: int
    """S"""

    @property
    def image_bytes(self) -> int:
        """Bytes of one image's tokens in float16."""
        return self.image_tokens * self.image_width * 2

    @property
    def region_bytes(self) -> int:
        """Bytes of one region's tokens and predicted IoUs in float16."""
        return (self.region_tokens * self.region_width + self.region_tokens - 1) * 2


@dataclass(frozen=True)
class Part:
    """A run of images that is encoded, written and committed together."""

    index: int
    image_start: int
    image_stop: int
    row_start: int
    """First row of its regions in the region arrays."""
    row_stop: int

    @property
    def images(self) -> range:
        """Positions of its images."""
        return range(self.image_start, self.image_stop)

    @property
    def rows(self) -> int:
        """How many regions it has."""
        return self.row_stop - self.row_start


@dataclass(frozen=True)
class CachePlan:
    """Where everything goes. I images, cut into parts of ``part_images``.

    A part's CLIP tokens are one shard of ``clip/tokens``. Its region rows are one shard of
    ``region/tokens``: they begin at ``index × part_rows`` and leave the shard's rest unwritten,
    which costs index space and no disk. So no two parts ever touch one file.
    """

    region_count: NDArray[np.int64]
    """(I,) regions of each image."""
    shape: TokenShape
    part_images: int

    @property
    def image_count(self) -> int:
        """I"""
        return len(self.region_count)

    @property
    def part_count(self) -> int:
        """How many parts there are."""
        return -(-self.image_count // self.part_images)

    @cached_property
    def part_rows(self) -> int:
        """Rows of a region shard: the fullest part's, rounded up to whole inner chunks."""
        starts = np.arange(0, self.image_count, self.part_images)
        fullest = int(np.add.reduceat(self.region_count, starts).max())
        return max(1, -(-fullest // REGION_CHUNK)) * REGION_CHUNK

    @property
    def row_count(self) -> int:
        """Rows of the region arrays, unwritten ones included."""
        return self.part_count * self.part_rows

    @cached_property
    def region_start(self) -> NDArray[np.int64]:
        """(I,) row of each image's first region."""
        before = np.concatenate([[0], np.cumsum(self.region_count)[:-1]])
        part = np.arange(self.image_count) // self.part_images
        first_of_part = before[part * self.part_images]
        return np.asarray(part * self.part_rows + before - first_of_part, dtype=np.int64)

    @cached_property
    def region_rows(self) -> NDArray[np.int64]:
        """(R,) row of every region, in the annotations' order."""
        total = int(self.region_count.sum())
        before = np.concatenate([[0], np.cumsum(self.region_count)[:-1]])
        offset = np.arange(total) - np.repeat(before, self.region_count)
        return np.asarray(np.repeat(self.region_start, self.region_count) + offset, dtype=np.int64)

    def part(self, index: int) -> Part:
        """The part at ``index``."""
        start = index * self.part_images
        stop = min(start + self.part_images, self.image_count)
        row_start = index * self.part_rows
        return Part(
            index, start, stop, row_start, row_start + int(self.region_count[start:stop].sum())
        )

    @property
    def stored_bytes(self) -> dict[str, int]:
        """Bytes of the finished token arrays, checksums and shard indices left out."""
        rows = sum(
            -(-self.part(i).rows // REGION_CHUNK) * REGION_CHUNK for i in range(self.part_count)
        )
        return {
            "clip/tokens": self.image_count * self.shape.image_bytes,
            "region/tokens and iou": rows * self.shape.region_bytes,
        }

    def to_json(self) -> dict[str, Any]:
        """The plan's numbers; with ``region/count`` they give the plan back."""
        return {"part_images": self.part_images, "shape": asdict(self.shape)}
