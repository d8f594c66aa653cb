"""Region classification with known boxes: is the best class the true one?"""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from regionspot_core.vocabulary import Vocabulary

FREQUENCY_NAMES = {"r": "rare", "c": "common", "f": "frequent"}


class RegionTop1:
    """Counts how often the best class is the true one, by frequency and by kind of class."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._groups = [
            ["all", *(name for name in (FREQUENCY_NAMES.get(frequency, ""), kind) if name)]
            for frequency, kind in zip(vocabulary.frequencies, vocabulary.kinds, strict=True)
        ]
        self._right: Counter[str] = Counter()
        self._seen: Counter[str] = Counter()

    def add(self, scores_RK: NDArray[np.floating], classes_R: NDArray[np.integer]) -> None:
        """Count R regions; those with class -1 are not known and left aside."""
        known = classes_R >= 0
        best = scores_RK[known].argmax(axis=1) if known.any() else np.zeros(0, dtype=int)
        for true, said in zip(classes_R[known].tolist(), best.tolist(), strict=True):
            for group in self._groups[true]:
                self._seen[group] += 1
                self._right[group] += true == said

    def shares(self) -> dict[str, float]:
        """Share of regions named right, by group; empty where no class was known."""
        return {group: self._right[group] / seen for group, seen in sorted(self._seen.items())}
