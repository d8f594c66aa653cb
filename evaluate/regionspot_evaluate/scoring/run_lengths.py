"""Whether the run lengths of many masks are what they say, all at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LONGEST_VALUE = 7
"""Characters of a run length at most: 35 bits."""

Integers = NDArray[np.int64]


def are_run_lengths(
    counts: NDArray[np.uint8], start: Integers, pixels: Integers
) -> NDArray[np.bool_]:
    """Return (M,) whether strings are COCO's compressed run lengths of the expected pixels.

    pycocotools trusts them, and writes beyond its memory where they say too much. The code is told
    at :func:`regionspot_core.datasets.masks.decode_runs`.

    Args:
        counts: The strings end to end.
        start: (M + 1,) string ``m`` is ``counts[start[m] : start[m + 1]]``.
        pixels: (M,) height × width of each.
    """
    good = _are_codes(counts, start)
    good[good] = _sums(counts, start, good) == pixels[good]
    return good


def _are_codes(counts: NDArray[np.uint8], start: Integers) -> NDArray[np.bool_]:
    """Return (M,) whether strings consist of whole values of the code."""
    length = np.diff(start)
    good = length > 0
    if not len(counts):
        return good
    good[good] = (counts[start[1:][good] - 1] - 48) & 32 == 0  # the last value ends
    owner = np.repeat(np.arange(len(length)), length)
    good[owner[(counts < 48) | (counts >= 112)]] = False
    goes_on = ((counts - 48) & 32 != 0).astype(np.int64)
    # How many characters of a string that go on stand in a row, up to each place.
    place = np.arange(len(counts))
    row = place - np.maximum.accumulate(np.where(goes_on == 0, place, start[owner] - 1))
    good[owner[row >= LONGEST_VALUE]] = False
    return good


def _sums(counts: NDArray[np.uint8], start: Integers, good: NDArray[np.bool_]) -> Integers:
    """Return the sum of the runs of each good string; −1 where a run is negative."""
    length = np.diff(start)
    values = counts[np.repeat(good, length)].astype(np.int64) - 48
    if not len(values):
        return np.zeros(0, dtype=np.int64)
    first_character = np.cumsum([0, *length[good]])[:-1]
    ends = values & 32 == 0
    begins = np.concatenate([[0], np.flatnonzero(ends)[:-1] + 1])
    width = np.diff([*begins, len(values)])
    shift = 5 * (np.arange(len(values)) - np.repeat(begins, width))
    runs = np.add.reduceat((values & 31) << shift, begins)
    runs -= (values[ends] >> 4 & 1) << 5 * width
    first_run = np.searchsorted(begins, first_character)
    number = np.arange(len(runs)) - np.repeat(first_run, np.diff([*first_run, len(runs)]))
    for parity in (1, 2):
        # From the fourth run on, the code is the difference to the run two before.
        chain = np.flatnonzero((number % 2 == parity % 2) & (number > 0))
        total = np.cumsum(runs[chain])
        heads = np.flatnonzero(number[chain] == parity)
        before = np.where(heads > 0, total[heads - 1], 0)
        runs[chain] = total - np.repeat(before, np.diff([*heads, len(chain)]))
    sums = np.add.reduceat(runs, first_run)
    sums[np.minimum.reduceat(runs, first_run) < 0] = -1
    return sums
