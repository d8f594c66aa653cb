"""Whether the run lengths of many masks are what they say, all at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LONGEST_VALUE = 7
"""Characters of a run length at most: 35 bits."""
TOGETHER = 1_500
"""Strings that are worked on at a time: their numbers stay in the processor's cache."""

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
    good = np.zeros(len(pixels), dtype=np.bool_)
    for first in range(0, len(pixels), TOGETHER):
        own = start[first : first + TOGETHER + 1]
        some = good[first : first + TOGETHER]
        strings = counts[own[0] : own[-1]]
        some[:] = _are_codes(strings, own - own[0])
        sums = _sums(strings, own - own[0], some)
        some[some] = sums == pixels[first : first + TOGETHER][some]
    return good


def _are_codes(counts: NDArray[np.uint8], start: Integers) -> NDArray[np.bool_]:
    """Return (M,) whether strings consist of whole values of the code."""
    length = np.diff(start)
    good = length > 0
    if not len(counts):
        return good
    good[good] = (counts[start[1:][good] - 1] - 48) & 32 == 0  # the last value ends
    foreign = np.flatnonzero((counts < 48) | (counts >= 112))
    # A value is too long where as many characters in a row go on, within one string.
    going = (counts - 48) & 32 != 0
    rows = going
    for place in range(1, LONGEST_VALUE):
        rows = rows[:-1] & going[place:]
    first = np.flatnonzero(rows)
    last = first + LONGEST_VALUE - 1
    owner, end = (np.searchsorted(start, each, side="right") - 1 for each in (first, last))
    good[owner[owner == end]] = False
    good[np.searchsorted(start, foreign, side="right") - 1] = False
    return good


def _sums(counts: NDArray[np.uint8], start: Integers, good: NDArray[np.bool_]) -> Integers:
    """Return the sum of the runs of each good string; −1 where a run is negative."""
    length = np.diff(start)
    values = counts - 48 if good.all() else counts[np.repeat(good, length)] - 48
    if not len(values):
        return np.zeros(0, dtype=np.int64)
    ends = np.flatnonzero(values < 32)
    begins = np.empty_like(ends)
    begins[0], begins[1:] = 0, ends[:-1] + 1
    runs, first = _decoded(values, begins, ends), np.searchsorted(begins, _begins(length[good]))
    count = np.diff(np.append(first, len(runs)))
    # From the fourth run on, the code is the difference to the run two before: with a 0 before
    # each string's runs, and one behind where they are even, they are two columns to be summed.
    rows = count // 2 + 1
    row = _begins(rows)
    pairs = np.zeros((row[-1] + rows[-1], 2), dtype=np.int64)
    pairs.reshape(-1)[np.arange(len(runs)) + np.repeat(2 * row + 1 - first, count)] = runs
    pairs[row, 1] = 0  # the first run is no part of a sum
    sums, lowest = runs[first], runs[first]
    for column in range(2):
        chain = np.cumsum(pairs[:, column])
        before = np.where(row > 0, chain[row - 1], 0)
        sums += np.add.reduceat(chain, row) - rows * before
        lowest = np.minimum(lowest, np.minimum.reduceat(chain, row) - before)
    sums -= np.where(count % 2 == 0, chain[row + rows - 1] - before, 0)
    sums[lowest < 0] = -1
    return sums


def _decoded(values: NDArray[np.uint8], begins: Integers, ends: Integers) -> Integers:
    """Return what the characters of each value say: five bits each, the lowest first."""
    width = ends - begins + 1
    last = values[ends]
    decoded = (values[begins] & 31).astype(np.int64)
    for place in range(1, int(width.max())):  # most values have one character or two
        rows = np.flatnonzero(width > place)
        decoded[rows] |= (values[begins[rows] + place] & 31).astype(np.int64) << 5 * place
    negative = np.flatnonzero(last & 16)
    decoded[negative] -= np.int64(1) << 5 * width[negative]
    return decoded


def _begins(length: Integers) -> Integers:
    """Return where strings of these lengths begin, end to end."""
    return np.cumsum(length) - length
