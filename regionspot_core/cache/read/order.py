"""The order in which a cache's images are read: repeatable, and any step of it reached directly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from regionspot_core.errors import InputError

Shuffle = Literal["full", "windowed"]


@dataclass(frozen=True, eq=False)
class Epoch:
    """A pass over the images; the rest that fills no batch is left out."""

    images: NDArray[np.int64]
    """(N,) images in the order they are read."""
    window: NDArray[np.int64]
    """(N,) the window each belongs to, never falling; all zero in a full shuffle."""
    part: NDArray[np.int64]
    """(N,) the part each lies in; all zero where the order was not told."""


@dataclass(frozen=True, kw_only=True, eq=False)
class BatchOrder:
    """Endless batches of images, epoch after epoch, by the seed alone.

    ``full``: each epoch is a new permutation of all images. ``windowed``: each epoch puts the
    parts into a new order, and shuffles the images of every ``window_parts`` parts of that order
    together, so that a reader touches few files at a time.

    A batch never spans two epochs. An epoch's rest that fills no batch is left out of that epoch,
    unless there are fewer images than a batch holds.

    With ``repeat`` an image comes ⌊r⌋ or ⌈r⌉ times an epoch, r times on average, by systematic
    sampling: every epoch has the same length.

    Raises:
        InputError: If there is no image, or a length does not fit.
    """

    images: NDArray[np.int64]
    """(I,) the images to read, as indices of the cache."""
    batch_images: int
    seed: int
    shuffle: Shuffle = "full"
    part_of: NDArray[np.int64] | None = None
    """(I,) the part that each of ``images`` lies in; only a windowed order needs it."""
    window_parts: int = 4
    repeat: NDArray[np.float64] | None = None
    """(I,) r ≥ 1, how often each image comes an epoch; None: once."""

    def __post_init__(self) -> None:
        if not len(self.images):
            raise InputError("an order of batches needs at least one image, got none")
        if self.batch_images < 1 or self.window_parts < 1:
            raise InputError(
                f"expected at least one image a batch and one part a window, got "
                f"{self.batch_images} and {self.window_parts}"
            )
        parts = None if self.part_of is None else len(self.part_of)
        if self.shuffle == "windowed" and parts != len(self.images):
            raise InputError(
                f"a windowed order needs the part of each of its {len(self.images)} images, got "
                f"{'none' if parts is None else parts}"
            )
        if self.repeat is not None and len(self.repeat) != len(self.images):
            raise InputError(
                f"expected how often each of {len(self.images)} images comes, got "
                f"{len(self.repeat)} numbers"
            )

    @property
    def size(self) -> int:
        """Images of every batch."""
        return min(self.batch_images, self._epoch_images)

    @property
    def epoch_batches(self) -> int:
        """Batches of every epoch."""
        return self._epoch_images // self.size

    @cached_property
    def _epoch_images(self) -> int:
        return len(self.images) if self.repeat is None else int(self.repeat.sum())

    def epoch(self, number: int) -> Epoch:
        """Return the images of one epoch. Takes time in proportion to I, whatever the number."""
        rng = np.random.default_rng([self.seed, number])
        if self.shuffle == "full":
            # The seed's rule is older than the windowed shuffle; heads were trained by it.
            order = self._shuffled(rng)
            window = np.zeros(len(order), dtype=np.int64)
        else:
            order, window = self._windowed(rng)
        order = order[: self.epoch_batches * self.size]
        part = np.zeros_like(order) if self.part_of is None else self.part_of[order]
        return Epoch(self.images[order], window[: len(order)], part)

    def batch(self, step: int) -> NDArray[np.int64]:
        """Return (size,) the images of one step, counted from 0."""
        number, place = divmod(step, self.epoch_batches)
        return self.epoch(number).images[place * self.size : (place + 1) * self.size]

    def batches(self, start_step: int = 0) -> Iterator[NDArray[np.int64]]:
        """Yield batches without end: the same as all, with the first ``start_step`` dropped."""
        return (images for _, images in self.numbered_batches(start_step))

    def numbered_batches(self, start_step: int = 0) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Yield as :meth:`batches` does, each with the number of its epoch."""
        number, place = divmod(start_step, self.epoch_batches)
        while True:
            images = self.epoch(number).images
            for first in range(place * self.size, len(images), self.size):
                yield number, images[first : first + self.size]
            number, place = number + 1, 0

    def _shuffled(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return places in ``images`` at random, each once or as often as it is repeated."""
        order = rng.permutation(len(self.images))
        if self.repeat is None:
            return order
        # Marks one apart on the images' lengths laid end to end: an image has ⌊r⌋ or ⌈r⌉ of them.
        ends = np.cumsum(self.repeat[order]) + rng.random()
        times = np.diff(np.floor(ends), prepend=0.0).astype(np.int64)
        return rng.permutation(np.repeat(order, times))[: self._epoch_images]

    def _windowed(self, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return (I,) places in ``images`` in this epoch's order, and (I,) the window of each."""
        parts, part = np.unique(np.asarray(self.part_of), return_inverse=True)
        window = rng.permutation(len(parts))[part] // self.window_parts
        shuffled = self._shuffled(rng)
        # Sorted by window and stable: within a window the permutation's order stays.
        order = shuffled[np.argsort(window[shuffled], kind="stable")]
        return order, window[order].astype(np.int64)
