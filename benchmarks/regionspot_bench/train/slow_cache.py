"""A cache behind a disk of limited bandwidth."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from regionspot_core.cache.location import Location
from regionspot_core.cache.read.batch import FeatureBatch
from regionspot_core.cache.read.reader import FeatureCache, Indices


class SlowCache(FeatureCache):
    """A cache whose reads take as long as their bytes take at a rate; the reader sleeps meanwhile.

    As of a disk that is shared by many: what one run does not ask for in time is not saved up for
    it. Training reads ahead in a thread, so that it goes on while that thread sleeps.

    Args:
        store: A folder or URL.
        bytes_per_second: Of the tensors that are delivered.
    """

    def __init__(self, store: Location, bytes_per_second: float) -> None:
        super().__init__(store)
        self.bytes_per_second = bytes_per_second

    def read(
        self,
        indices: Indices,
        *,
        flipped: NDArray[np.bool_] | None = None,
        copy: NDArray[np.integer] | None = None,
    ) -> FeatureBatch:
        """Read as :class:`FeatureCache` does, with a delay."""
        began = time.perf_counter()
        batch = super().read(indices, flipped=flipped, copy=copy)
        due = began + batch.nbytes / self.bytes_per_second
        time.sleep(max(0.0, due - time.perf_counter()))
        return batch
