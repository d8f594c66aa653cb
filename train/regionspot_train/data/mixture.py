"""The cache that each step of a run reads, drawn by weight and by the seed alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count

import numpy as np
from numpy.typing import NDArray

BLOCK = 4_096
"""Steps that are drawn together, so that any step is reached quickly."""


class Mixture:
    """The cache of every step, drawn by weight.

    Args:
        weights: (N,) each above 0; they need not add up to 1.
        seed: The same seed, the same steps.
    """

    def __init__(self, weights: Sequence[float], seed: int) -> None:
        self._shares = np.asarray(weights, dtype=np.float64) / np.sum(weights)
        self._seed = seed

    def steps(self, start: int = 0) -> Iterator[int]:
        """Yield the cache of each step from ``start`` on, without end."""
        for number in count(start // BLOCK):
            yield from self._block(number)[start % BLOCK :].tolist()
            start = 0

    def before(self, step: int) -> NDArray[np.int64]:
        """Return (N,) how many of the steps before ``step`` each cache has."""
        counts = np.zeros(len(self._shares), dtype=np.int64)
        if len(counts) == 1:
            return counts + step
        whole, rest = divmod(step, BLOCK)
        for number in range(whole):
            counts += np.bincount(self._block(number), minlength=len(counts))
        if rest:
            counts += np.bincount(self._block(whole)[:rest], minlength=len(counts))
        return counts

    def _block(self, number: int) -> NDArray[np.int64]:
        if len(self._shares) == 1:
            return np.zeros(BLOCK, dtype=np.int64)
        rng = np.random.default_rng([self._seed, number, BLOCK])
        return rng.choice(len(self._shares), size=BLOCK, p=self._shares)
