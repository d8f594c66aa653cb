"""A list of classes for each image: those that LVIS knows to be absent, or not all annotated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ClassLists:
    """A list of classes for each of I images."""

    values: NDArray[np.int32]
    """The lists end to end, as class indices."""
    start: NDArray[np.int64]
    """(I + 1,): image ``i`` owns ``values[start[i] : start[i + 1]]``."""

    @classmethod
    def of(cls, lists: Sequence[NDArray[np.integer] | Sequence[int]]) -> Self:
        """Join I lists."""
        start = np.cumsum([0, *map(len, lists)]).astype(np.int64)
        values = np.concatenate([*lists, []]).astype(np.int32)
        return cls(values, start)

    @classmethod
    def joined(cls, several: Sequence[Self]) -> Self:
        """Join several, the images of one after those of another."""
        return cls.of([each[image] for each in several for image in range(len(each))])

    def __len__(self) -> int:
        return len(self.start) - 1

    def __getitem__(self, image: int) -> NDArray[np.int32]:
        """Return the class indices of the image at position ``image``."""
        return self.values[int(self.start[image]) : int(self.start[image + 1])]

    @property
    def longest(self) -> int:
        """Return the length of the longest list."""
        return int(np.diff(self.start).max(initial=0))

    def renumbered(self, position: NDArray[np.int32]) -> Self:
        """Return the same lists with class ``k`` called ``position[k]``."""
        return type(self)(position[self.values], self.start)

    def taken(self, images: NDArray[np.integer]) -> Self:
        """Return the lists of some images, in the order given."""
        lengths = np.diff(self.start)[images]
        start = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        rows = np.arange(start[-1]) + np.repeat(self.start[images] - start[:-1], lengths)
        return type(self)(self.values[rows], start)

    def pairs(self, classes: int) -> NDArray[np.int64]:
        """Return ``image × classes + class`` of every entry, image after image."""
        owner = np.repeat(np.arange(len(self), dtype=np.int64), np.diff(self.start))
        return owner * classes + self.values

    def padded(self, images: NDArray[np.integer], width: int) -> NDArray[np.int64]:
        """Return (len(images), width) the lists of images, −1 behind each; none may be longer."""
        out = np.full((len(images), width), -1, dtype=np.int64)
        for row, image in zip(out, images, strict=True):
            own = self[int(image)]
            row[: len(own)] = own
        return out
