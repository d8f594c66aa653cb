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
    runs, first_run = _decoded(values, begins, ends), _begins(length[good])
    first_run = np.searchsorted(begins, first_run)
    runs_of = np.diff(np.append(first_run, len(runs)))
    number = np.arange(len(runs)) - np.repeat(first_run, runs_of)
    for parity in (1, 2):
        # From the fourth run on, the code is the difference to the run two before.
        chain = np.flatnonzero((number & 1 == parity & 1) & (number > 0))
        total = np.cumsum(runs[chain])
        heads = np.flatnonzero(number[chain] == parity)
        before = np.where(heads > 0, total[heads - 1], 0)
        runs[chain] = total - np.repeat(before, np.diff(np.append(heads, len(chain))))
    sums = np.add.reduceat(runs, first_run)
    sums[np.minimum.reduceat(runs, first_run) < 0] = -1
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
