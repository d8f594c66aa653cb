"""The data that a head was trained on, as its ``head.json`` records it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import compress
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from regionspot_core.datasets.split import Split
from regionspot_core.datasets.vocabulary import Vocabulary
from regionspot_core.errors import CheckpointError
from regionspot_core.heads.held_out_classes import HeldOutClasses
from regionspot_core.support.records import Record

Count = Annotated[int, Field(ge=0)]


class TrainedClasses(Record):
    """Classes of one data set, and the number of regions of each that a head learnt from."""

    names: tuple[str, ...]
    ids: tuple[int, ...]
    """The annotation file's number of each class."""
    frequencies: tuple[str, ...]
    """LVIS's ``r``, ``c`` or ``f``; ``""`` where the file does not say."""
    regions: tuple[Count, ...]

    @model_validator(mode="after")
    def _columns_are_equally_long(self) -> Self:
        lengths = {len(self.names), len(self.ids), len(self.frequencies), len(self.regions)}
        if len(lengths) > 1:
            raise ValueError("expected an id, a frequency and a number of regions for every name")
        return self

    @classmethod
    def of(
        cls, vocabulary: Vocabulary, regions_K: Sequence[int], learnt_K: Sequence[bool]
    ) -> TrainedClasses:
        """Return a vocabulary's learnt classes with the number of regions of each of them."""
        columns = (vocabulary.names, vocabulary.ids, vocabulary.frequencies, regions_K)
        names, ids, frequencies, regions = (tuple(compress(each, learnt_K)) for each in columns)
        return cls(names=names, ids=ids, frequencies=frequencies, regions=regions)


class TrainedCache(Record, extra="allow"):
    """One of the caches that a head learnt from."""

    classes: TrainedClasses | None = None
    """None: the head is older than this record."""
    annotations_sha256: str | None = None
    split: Split | None = None
    """None: the head learnt from all images of the cache."""
    held_out_classes: HeldOutClasses | None = None
    """None: the head learnt all classes of the cache."""
    files: dict[str, int] | None = None
    """Bytes of a sample of the image files, by name."""


class Training(Record, extra="allow"):
    """Training of a head, as far as other commands read its record."""

    step: int | None = Field(default=None, ge=0)
    imported: dict[str, Any] | None = None
    """The published checkpoint that the head was imported from."""
    caches: tuple[TrainedCache, ...] | None = None
    started_from: Training | None = None
    """Training of the head that this one began with."""

    @classmethod
    def of(cls, values: dict[str, Any]) -> Training:
        """Return the training of a head's record.

        Raises:
            CheckpointError: If it is not one of ours.
        """
        return cls.parse(values, source="training", error=CheckpointError)

    def learnt_from(
        self, annotations_sha256: str, image_ids: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Return (I,) whether the head, or the one it began with, learnt from each image.

        Args:
            annotations_sha256: Checksum of the images' annotation file.
            image_ids: (I,) their ids in that file.
        """
        learnt = np.zeros(len(image_ids), dtype=bool)
        for cache in self.caches or ():
            if cache.annotations_sha256 == annotations_sha256:
                learnt |= True if cache.split is None else ~cache.split.held_out(image_ids)
        if self.started_from is not None:
            learnt |= self.started_from.learnt_from(annotations_sha256, image_ids)
        return learnt

    def files_under_other_annotations(self, annotations_sha256: str) -> list[dict[str, int]]:
        """Return the samples of image files, bytes by name, of caches of other annotations."""
        own = [
            cache.files
            for cache in self.caches or ()
            if cache.files and cache.annotations_sha256 != annotations_sha256
        ]
        earlier = self.started_from
        return own + (earlier.files_under_other_annotations(annotations_sha256) if earlier else [])

    @property
    def held_out_classes(self) -> HeldOutClasses | None:
        """Classes that training held out; None: none, or the head it began with learnt them."""
        held = next((cache.held_out_classes for cache in self.caches or ()), None)
        if held is None or self.started_from is None:
            return held
        earlier = self.started_from.counts()
        learnt = [name for name, count in (earlier or {}).items() if count]
        return None if earlier is None or held.among(learnt).any() else held

    def counts(self) -> dict[str, int] | None:
        """Return the number of regions that the head learnt from, by the name of their class.

        Those of all caches, and of the head that it began with, are added up. Classes without a
        region are there, with 0; those that were held out are not. None: the record does not say,
        or not all of it.
        """
        if self.imported is not None or not self.caches:
            return None
        counts: Counter[str] = Counter()
        for cache in self.caches:
            if cache.classes is None:
                return None
            for name, regions in zip(cache.classes.names, cache.classes.regions, strict=True):
                counts[name] += regions
        if self.started_from is not None:
            earlier = self.started_from.counts()
            if earlier is None:
                return None
            counts.update(earlier)
        return dict(counts)
