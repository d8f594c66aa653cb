"""Batches of cached features in a repeatable random order, read ahead in a thread."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from itertools import islice

import numpy as np

from regionspot_core.cache.batch import FeatureBatch
from regionspot_core.cache.order import BatchOrder
from regionspot_core.cache.part_reader import PartReader
from regionspot_core.cache.read_ahead import ReadAhead
from regionspot_core.cache.reader import FeatureCache
from regionspot_train.config import ReadingConfig


class FeatureLoader:
    """The batches of a cache's images that have regions: the steps ``start_step`` to ``steps``.

    Each ``iter()`` begins anew. Reading goes on in a thread that ends when the iteration ends, is
    closed or is left.
    """

    def __init__(
        self,
        cache: FeatureCache,
        *,
        batch_images: int,
        seed: int,
        steps: int,
        start_step: int = 0,
        reading: ReadingConfig | None = None,
    ) -> None:
        self._cache = cache
        self._steps = range(start_step, steps)
        self._reading = reading or ReadingConfig()
        images = np.flatnonzero(cache.region_counts > 0)
        self._order = BatchOrder(
            images=images,
            batch_images=batch_images,
            seed=seed,
            shuffle=self._reading.shuffle,
            part_of=cache.part_of[images],
            window_parts=self._reading.window_parts,
        )

    def __iter__(self) -> Generator[FeatureBatch, None, None]:
        if self._order.shuffle == "windowed":
            reader = PartReader(self._cache.read, self._order)
            with closing(reader.batches(self._steps.start)) as endless:
                yield from islice(endless, len(self._steps))
        else:
            wanted = islice(self._order.batches(self._steps.start), len(self._steps))
            memory_bytes = self._reading.memory_mib * 2**20
            yield from ReadAhead(self._cache.read, wanted, memory_bytes=memory_bytes)
