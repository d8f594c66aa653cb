"""The plan of a cache: every shape and offset, known before any model runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from regionspot_core.cache.layout.keep import Keep, TokenShape
from regionspot_core.config import Config
from regionspot_core.region_tokens import PAPER_TOKEN
from regionspot_core.support.records import Length

REGION_CHUNK = 16
"""Region rows in one inner chunk: a random image touches one or two."""


class PlanRecord(Config):
    """The plan in a store's attributes; ``region/count`` is the rest of it."""

    part_images: Length
    shape: TokenShape
    keep: Keep

    @model_validator(mode="before")
    @classmethod
    def _without_embeddings(cls, values: Any) -> Any:  # noqa: ANN401 - whatever is stored
        """Take a record of before there were region embeddings as one without."""
        keep = values.get("keep") if isinstance(values, dict) else None
        if not isinstance(keep, dict):
            return values
        return {**values, "keep": {"region_embedding": "none", **keep}}

    @model_validator(mode="after")
    def _embeddings_have_a_width(self) -> Self:
        kept, width = self.keep.region_embedding, self.shape.region_embedding
        if kept != "auto" and (kept == "none") != (width == 0):
            raise ValueError(f"region embeddings ({kept}) of {width} values")
        return self


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
        """Number of its regions."""
        return self.row_stop - self.row_start


@dataclass(frozen=True)
class CachePlan:
    """The place of everything in a store. I images are cut into parts of ``part_images``.

    A part's CLIP tokens are one shard of ``clip/tokens``. Its region rows are one shard of
    ``region/tokens``: they begin at ``index × part_rows`` and leave the shard's rest unwritten,
    which costs index space and no disk. So no two parts ever touch one file.
    """

    region_count: NDArray[np.int64]
    """(I,) regions of each image."""
    shape: TokenShape
    part_images: int
    keep: Keep = field(default_factory=Keep)

    def __post_init__(self) -> None:
        """Resolve ``auto`` of a plan that names no frozen models: by the width of what is kept."""
        if self.keep.region_embedding == "auto":
            kept = "tokens" if self.shape.region_embedding else "none"
            keep = self.keep.model_copy(update={"region_embedding": kept})
            object.__setattr__(self, "keep", keep)

    @property
    def image_count(self) -> int:
        """I"""
        return len(self.region_count)

    @property
    def part_count(self) -> int:
        """Number of parts."""
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

    @property
    def paper_token(self) -> int:
        """Place of the paper's token among a region's M tokens."""
        alone = self.keep.sam_tokens == "paper" or self.shape.region_tokens == 1
        return 0 if alone else PAPER_TOKEN

    def part(self, index: int) -> Part:
        """Return the part at ``index``."""
        start = index * self.part_images
        stop = min(start + self.part_images, self.image_count)
        rows = int(self.region_count[start:stop].sum())
        return Part(index, start, stop, index * self.part_rows, index * self.part_rows + rows)

    def parts(self) -> list[Part]:
        """Return all parts, in order."""
        return [self.part(index) for index in range(self.part_count)]

    def to_json(self) -> dict[str, Any]:
        """Return the plan's numbers; with ``region/count`` they give the plan back."""
        return {
            "part_images": self.part_images,
            "shape": dict(vars(self.shape)),
            "keep": self.keep.to_json(),
        }

    @classmethod
    def from_record(cls, record: PlanRecord, region_count: NDArray[np.int64]) -> Self:
        """Build the plan from the record of :meth:`to_json` and the store's ``region/count``."""
        return cls(
            region_count=region_count,
            shape=record.shape,
            part_images=record.part_images,
            keep=record.keep,
        )
