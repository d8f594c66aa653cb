"""Batches of cached features in a repeatable random order, read ahead in a thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from regionspot_core.cache.batch import FeatureBatch
from regionspot_core.cache.reader import FeatureCache

BATCHES_AHEAD = 4


def batch_order(
    images: NDArray[np.int64], *, batch_images: int, seed: int
) -> Iterator[NDArray[np.int64]]:
    """Endless batches of images: each epoch a new permutation of all, by seed alone.

    A batch never spans two epochs; an epoch's rest that fills no batch is left out of that
    epoch, unless there are fewer images than a batch holds.
    """
    size = min(batch_images, len(images))
    epoch = 0
    while True:
        order = np.random.default_rng([seed, epoch]).permutation(images)
        for start in range(0, len(order) - size + 1, size):
            yield order[start : start + size]
        epoch += 1


class FeatureLoader:
    """The first ``steps`` batches of a cache's images that have regions."""

    def __init__(self, cache: FeatureCache, *, batch_images: int, seed: int, steps: int) -> None:
        self._cache = cache
        self._images = np.flatnonzero(cache.region_counts > 0)
        self._batch_images = batch_images
        self._seed = seed
        self._steps = steps

    def __iter__(self) -> Iterator[FeatureBatch]:
        ready: queue.Queue[FeatureBatch | Exception] = queue.Queue(maxsize=BATCHES_AHEAD)
        stop = threading.Event()

        def offer(item: FeatureBatch | Exception) -> None:
            # The consumer may have gone: look now and then instead of waiting for ever.
            while not stop.is_set():
                try:
                    ready.put(item, timeout=0.1)
                except queue.Full:
                    continue
                return

        def read_ahead() -> None:
            order = batch_order(self._images, batch_images=self._batch_images, seed=self._seed)
            try:
                for _ in range(self._steps):
                    if stop.is_set():
                        return
                    offer(self._cache.read(next(order)))
            except Exception as error:  # raised again where the batch is awaited
                offer(error)

        reader = threading.Thread(target=read_ahead, name="feature-loader", daemon=True)
        reader.start()
        try:
            for _ in range(self._steps):
                item = ready.get()
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            stop.set()
            reader.join()
