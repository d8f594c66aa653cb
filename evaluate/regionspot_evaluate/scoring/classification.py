"""Region classification with known boxes: where does the true class stand among the names?"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regionspot_core.datasets.vocabulary import Vocabulary

FREQUENCY_NAMES = {"r": "rare", "c": "common", "f": "frequent"}
FIRST, FIRST_FIVE = 1, 5


@dataclass(frozen=True)
class RegionFigures:
    """Shares by group of classes: all, LVIS's frequencies and kinds; empty where none is known."""

    top1: dict[str, float] = field(default_factory=dict)
    """Share of regions whose first class is the true one, by group."""
    top5: dict[str, float] = field(default_factory=dict)
    """Share of regions whose true class is among the first five, by group."""
    class_mean: dict[str, float] = field(default_factory=dict)
    """The mean of the classes' own top-1: rare ones count as much as frequent ones."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def true_ranks(
    scores_RK: NDArray[np.floating], classes_R: NDArray[np.integer]
) -> NDArray[np.int64]:
    """Return (R,) the number of classes scored above the true one; -1 for class -1.

    Of equal scores the earlier class stands first, as for ``argmax``.
    """
    true = classes_R.clip(min=0)[:, None]
    own = np.take_along_axis(scores_RK, true, axis=1)
    earlier = np.arange(scores_RK.shape[1]) < true
    before = (scores_RK > own) | ((scores_RK == own) & earlier)
    return np.where(classes_R >= 0, before.sum(axis=1), -1)


class RegionNaming:
    """Counts how often the true class is the first, or among the first five, class by class."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._groups = [
            ["all", *(name for name in (FREQUENCY_NAMES.get(frequency, ""), kind) if name)]
            for frequency, kind in zip(vocabulary.frequencies, vocabulary.kinds, strict=True)
        ]
        self._seen: Counter[int] = Counter()
        self._first: Counter[int] = Counter()
        self._first_five: Counter[int] = Counter()

    def add(self, scores_RK: NDArray[np.floating], classes_R: NDArray[np.integer]) -> None:
        """Count R regions; those with class -1 are not known and left aside."""
        self.add_ranks(true_ranks(scores_RK, classes_R).tolist(), classes_R.tolist())

    def add_ranks(self, ranks: Iterable[int], classes: Iterable[int]) -> None:
        """Count regions by the ranks of :func:`true_ranks`."""
        for rank, true in zip(ranks, classes, strict=True):
            if true >= 0:
                self._seen[true] += 1
                self._first[true] += rank < FIRST
                self._first_five[true] += rank < FIRST_FIVE

    def figures(self) -> RegionFigures:
        """Return the shares of the regions counted so far."""
        members: dict[str, list[int]] = defaultdict(list)
        for index in sorted(self._seen):
            for group in self._groups[index]:
                members[group].append(index)
        figures = RegionFigures()
        for group, classes in sorted(members.items()):
            seen = sum(self._seen[k] for k in classes)
            figures.top1[group] = sum(self._first[k] for k in classes) / seen
            figures.top5[group] = sum(self._first_five[k] for k in classes) / seen
            shares = [self._first[k] / self._seen[k] for k in classes]
            figures.class_mean[group] = sum(shares) / len(shares)
        return figures
