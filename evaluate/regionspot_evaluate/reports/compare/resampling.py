"""Intervals for figures of an image set, from the figures of random halves of it.

The usual bootstrap draws images with replacement. That is wrong for average precision: copies of an
image raise each other's precision, and a class whose images are not drawn leaves the mean, so a
draw's figure lies above that of the whole set, and may do so in nearly every draw. A half has each
image once or not at all. A mean over the images of a half differs from that of the whole set as
much as the whole set's does from that of the images' source. So the standard deviation over halves
is the standard error: this is the delete-d jackknife with d = n/2 (Shao and Wu 1989, *Annals of
Statistics* 17), which also holds for figures that are not smooth.

``benchmarks/interval_coverage.py`` measures how often these intervals, and others, hold the value
that they are meant to hold.
"""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
LEAST_MEASURED = 0.95
"""Share of the halves that must have something to measure: with less, a figure is that of four
images or fewer, and its spread is not known."""


def draw_halves(images: int, *, times: int, seed: int) -> NDArray[np.uint8]:
    """Return N draws of half of the images, (N, I): 1 where an image is drawn, and 0.

    Of an odd number of images the smaller half is drawn.
    """
    random = np.random.default_rng(seed)
    drawn = np.zeros((times, images), dtype=np.uint8)
    for row in drawn:
        row[random.permutation(images)[: images // 2]] = 1
    return drawn


def interval(
    figure: float | None, halves_N: NDArray[np.float64], *, images: int
) -> tuple[float, float] | None:
    """Return the 95 % interval of a figure, which is in its middle.

    Args:
        figure: Figure of all images; None where there is nothing to measure on.
        halves_N: (N,) those of halves; NaN where a half has nothing to measure on.
        images: Number of images.

    Returns:
        The ends, or None where there is no figure, or more than one in twenty halves has none.
    """
    values = halves_N[~np.isnan(halves_N)]
    if figure is None or len(values) < max(2, LEAST_MEASURED * len(halves_N)):
        return None
    drawn = images // 2
    error = sqrt(drawn / (images - drawn)) * float(values.std(ddof=1))
    reach = _student(len(values) - 1) * error
    return figure - reach, figure + reach


def _student(degrees: int) -> float:
    """Return Student's two-sided 95 % quantile: Abramowitz and Stegun 26.7.5, two terms."""
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    return z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
