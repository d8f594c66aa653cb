"""Batches in windowed order from parts that are read whole, one long read each.

For disks and object stores where a request costs more than its bytes.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields
from itertools import count, tee
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from regionspot_core.cache.read.batch import FILL, PER_IMAGE, FeatureBatch
from regionspot_core.cache.read.order import BatchOrder, Epoch
from regionspot_core.errors import InputError

THREAD_NAME = "part-reader"

Read = Callable[[NDArray[np.int64], int], FeatureBatch]
"""Reads images by their indices, for an epoch: which view of an image is read may depend on it."""


class _Key(NamedTuple):
    """A window of an endless order; keys rise with time."""

    epoch: int
    window: int


class _Part(NamedTuple):
    first: int
    """The cache's index of its first image that was read."""
    batch: FeatureBatch


@dataclass(frozen=True)
class _Window:
    key: _Key
    parts: dict[int, _Part]


@dataclass(frozen=True)
class _Step:
    """A batch: its images, the part each lies in, and the windows it touches."""

    images: NDArray[np.int64]
    part: NDArray[np.int64]
    first: _Key
    last: _Key


class PartReader:
    """The batches of a windowed order, each equal to what ``read`` of its images gives.

    While one window is served, one thread reads the next. So at most two windows are in memory,
    or the windows that one batch touches where they are more:

        2 × window_parts × part_images × (T·C·itemsize + R·(M·S·itemsize + 33)) bytes,

    R being the largest region count of an image and 33 the bytes of a region's class, box, id and
    mask. Two windows of 4 parts of 256 images hold 0.6 GB of CLIP B/16's image tokens.

    Args:
        read: Reads images by rising indices for an epoch. It is called in the background thread,
            once a part, with one unbroken run of indices.
        order: A windowed order.

    Raises:
        InputError: If the order is not windowed.
    """

    def __init__(self, read: Read, order: BatchOrder) -> None:
        if order.shuffle != "windowed":
            raise InputError(
                f"reading whole parts needs a windowed order, got shuffle {order.shuffle!r}"
            )
        self._read = read
        self._order = order
        self.waited_seconds = 0.0
        """Seconds that the consumer has waited for windows, all iterations together."""

    def batches(self, start_step: int = 0) -> Generator[FeatureBatch, None, None]:
        """Yield batches without end from a step on; an error is raised when its batch is due.

        The thread ends when the iteration is closed or left.
        """
        first_epoch, place = divmod(start_step, self._order.epoch_batches)
        begin = place * self._order.size
        epochs = ((number, self._order.epoch(number)) for number in count(first_epoch))
        for_windows, for_steps = tee(epochs)
        windows = _windows(for_windows, begin)
        held: deque[_Window] = deque()
        ahead: deque[Future[_Window]] = deque()
        with ThreadPoolExecutor(1, thread_name_prefix=THREAD_NAME) as pool:
            for step in _steps(for_steps, begin, self._order.size):
                while held and held[0].key < step.first:
                    held.popleft()
                while not held or held[-1].key < step.last:
                    if not ahead:
                        ahead.append(pool.submit(self._read_window, *next(windows)))
                    held.append(self._await(ahead))
                if len(held) == 1 and not ahead:
                    ahead.append(pool.submit(self._read_window, *next(windows)))
                yield _gather(step, {k: v for window in held for k, v in window.parts.items()})

    def _await(self, ahead: deque[Future[_Window]]) -> _Window:
        asked = time.perf_counter()
        window = ahead.popleft().result()
        self.waited_seconds += time.perf_counter() - asked
        return window

    def _read_window(
        self, key: _Key, images: NDArray[np.int64], part: NDArray[np.int64]
    ) -> _Window:
        parts = {}
        for number in np.unique(part).tolist():
            in_part = images[part == number]
            first = int(in_part.min())
            # Images between two wanted ones are read as well: one long read is the point.
            parts[number] = _Part(
                first, self._read(np.arange(first, int(in_part.max()) + 1), key.epoch)
            )
        return _Window(key, parts)


def _windows(
    epochs: Iterable[tuple[int, Epoch]], begin: int
) -> Iterator[tuple[_Key, NDArray[np.int64], NDArray[np.int64]]]:
    """Yield each window's key, images and their parts, from the one with ``begin`` on."""
    for number, epoch in epochs:
        for window in range(int(epoch.window[begin]), int(epoch.window[-1]) + 1):
            first, stop = np.searchsorted(epoch.window, [window, window + 1])
            if first < stop:
                yield _Key(number, window), epoch.images[first:stop], epoch.part[first:stop]
        begin = 0


def _steps(epochs: Iterable[tuple[int, Epoch]], begin: int, size: int) -> Iterator[_Step]:
    for number, epoch in epochs:
        for first in range(begin, len(epoch.images), size):
            window = epoch.window[first : first + size]
            yield _Step(
                images=epoch.images[first : first + size],
                part=epoch.part[first : first + size],
                first=_Key(number, int(window[0])),
                last=_Key(number, int(window[-1])),
            )
        begin = 0


def _gather(step: _Step, parts: dict[int, _Part]) -> FeatureBatch:
    """Return the batch's rows out of the parts, padded no further than the batch needs."""
    taken = []
    for number in np.unique(step.part).tolist():
        in_part = np.flatnonzero(step.part == number)
        first, batch = parts[number]
        places = torch.from_numpy(step.images[in_part] - first)
        taken.append((torch.from_numpy(in_part), places, batch))
    width = max(1, *(int(batch.mask[places].sum(1).max()) for _, places, batch in taken))
    values = {}
    for field in fields(FeatureBatch):
        sample = getattr(taken[0][2], field.name)
        trailing = sample.shape[1:] if field.name in PER_IMAGE else (width, *sample.shape[2:])
        out = sample.new_full((len(step.images), *trailing), FILL.get(field.name, 0))
        for rows, places, batch in taken:
            source = getattr(batch, field.name)
            if field.name in PER_IMAGE:
                out[rows] = source[places]
            else:
                out[rows, : source.shape[1]] = source[places, :width]
        values[field.name] = out
    return FeatureBatch(**values)
