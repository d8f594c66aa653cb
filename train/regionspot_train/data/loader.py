"""Batches of cached features in a repeatable random order, read ahead in a thread."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from regionspot_core.cache.read.batch import FeatureBatch
from regionspot_core.cache.read.order import BatchOrder
from regionspot_core.cache.read.part_reader import PartReader
from regionspot_core.cache.read.read_ahead import ReadAhead
from regionspot_train.config import TrainConfig
from regionspot_train.data.mixture import Mixture
from regionspot_train.data.sources import Source
from regionspot_train.data.views import Views
from regionspot_train.processes import Processes


@dataclass(frozen=True)
class TrainBatch:
    """Input of one step."""

    source: int
    """Number of the run's cache that it comes from."""
    features: FeatureBatch
    """This process's share of its images."""
    regions: int
    """Number of regions in all processes' shares."""

    @property
    def nbytes(self) -> int:
        """Bytes of its tensors."""
        return self.features.nbytes


@dataclass(frozen=True)
class _BatchRequest:
    """Images that a step reads."""

    source: int
    epoch: int
    images: NDArray[np.int64]
    """(B,) indices of the whole batch's images."""


class FeatureLoader:
    """Batches of the steps ``start_step`` to ``config.steps``, without images that have no region.

    Each step reads one of the caches. Each ``iter()`` begins anew. Reading goes on in a thread (a
    thread a cache in a windowed shuffle) that ends when the iteration ends, is closed or is left.

    Args:
        sources: What to read.
        config: Of it ``steps``, ``batch_images``, ``seed``, ``data`` and ``reading`` count.
        start_step: The first step, counted from ``config.data.first_batch``.
        processes: Each gets its share of every batch's images.
        endless: Whether to go on past ``config.steps``.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        config: TrainConfig,
        *,
        start_step: int = 0,
        processes: Processes | None = None,
        endless: bool = False,
    ) -> None:
        data = config.data
        seed = config.seed if data.seed is None else data.seed
        self._sources = sources
        self._reading = config.reading
        self._processes = processes or Processes()
        self._start = data.first_batch + start_step
        self._count = None if endless else max(0, config.steps - start_step)
        self._mixture = Mixture([source.weight for source in sources], seed)
        self._views = [
            Views(
                source.cache,
                seed=seed,
                jitter=data.jitter,
                flip=data.flip,
                learnt_K=source.learnt_classes,
            )
            for source in sources
        ]
        self._orders = [
            BatchOrder(
                images=source.images,
                batch_images=config.batch_images,
                seed=seed,
                shuffle=config.reading.shuffle,
                part_of=source.cache.part_of[source.images],
                window_parts=config.reading.window_parts,
                repeat=source.repeat,
            )
            for source in sources
        ]

    def __iter__(self) -> Generator[TrainBatch, None, None]:
        if self._reading.shuffle == "windowed":
            yield from self._in_windows()
        else:
            ahead = ReadAhead(
                self._read, self._requests(), memory_bytes=self._reading.memory_mib * 2**20
            )
            yield from ahead

    def _requests(self) -> Iterator[_BatchRequest]:
        """Yield the images of each step in a full shuffle."""
        done = self._mixture.before(self._start)
        batches = [
            order.numbered_batches(int(n)) for order, n in zip(self._orders, done, strict=True)
        ]
        for source in islice(self._mixture.steps(self._start), self._count):
            yield _BatchRequest(source, *next(batches[source]))

    def _read(self, request: _BatchRequest) -> TrainBatch:
        images = request.images[self._processes.share]
        features = self._views[request.source].read(images, request.epoch)
        counts = self._sources[request.source].region_counts[request.images]
        return TrainBatch(request.source, features, int(counts.sum()))

    def _in_windows(self) -> Iterator[TrainBatch]:
        """Yield batches of whole parts: every process reads all of them and takes its share."""
        done = self._mixture.before(self._start)
        with ExitStack() as stack:
            batches = []
            for views, order, n in zip(self._views, self._orders, done, strict=True):
                reader = PartReader(views.read, order)
                batches.append(stack.enter_context(closing(reader.batches(int(n)))))
            for source in islice(self._mixture.steps(self._start), self._count):
                whole = next(batches[source])
                share = whole.images(self._processes.share)
                yield TrainBatch(source, share, int(whole.mask.sum()))
