"""The view of each image in an epoch: its own boxes or jittered ones, as it is or mirrored."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from regionspot_core.cache.read.batch import FeatureBatch
from regionspot_core.cache.read.reader import FeatureCache


class Views:
    """Reads a cache's images, each in a view drawn by the seed and the epoch.

    Args:
        cache: It must keep the views that are asked for.
        seed: The same seed, the same views.
        jitter: Whether a copy of the boxes is drawn, their own being one of them.
        flip: Whether half of the images are mirrored.
        learnt_K: (K,) the classes whose regions are read, as if images had no others; None: all.
    """

    def __init__(
        self,
        cache: FeatureCache,
        *,
        seed: int,
        jitter: bool,
        flip: bool,
        learnt_K: NDArray[np.bool_] | None = None,
    ) -> None:
        self._cache = cache
        self._seed = seed
        self._copies = cache.plan.keep.jitter if jitter else 0
        self._flip = flip
        self._learnt_K: torch.Tensor | None = None
        if learnt_K is not None and not learnt_K.all():
            self._learnt_K = torch.from_numpy(learnt_K)
        # A reader may be an epoch ahead of another that still ends the last one.
        self._of_epoch = lru_cache(maxsize=2)(self._draw)

    def read(self, images: NDArray[np.int64], epoch: int) -> FeatureBatch:
        """Read the images at these indices in the epoch's views."""
        if not (self._copies or self._flip):
            batch = self._cache.read(images)
        else:
            flipped, copy = self._of_epoch(epoch)
            batch = self._cache.read(images, flipped=flipped[images], copy=copy[images])
        if self._learnt_K is None:
            return batch
        return batch.only(self._learnt_K[batch.classes.clamp(min=0)])

    def _draw(self, epoch: int) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Return whether each image is mirrored, and which copy of its boxes is read."""
        rng = np.random.default_rng([self._seed, epoch, 1])
        count = len(self._cache)
        flipped = rng.random(count) < 0.5 if self._flip else np.zeros(count, dtype=bool)
        return flipped, rng.integers(0, self._copies + 1, size=count)
