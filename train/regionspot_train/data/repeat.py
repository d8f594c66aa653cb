"""Repeat factors of images, so that rare classes are seen more."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def repeat_factors(
    image_R: NDArray[np.int64], class_R: NDArray[np.int64], *, images: int, threshold: float
) -> NDArray[np.float64]:
    """Return the repeat factors of Gupta et al. 2019 (LVIS, arXiv 1908.03195), appendix B.

    With f_c the share of images that have class c, the class's factor is
    ``max(1, sqrt(threshold / f_c))``, and an image's is the largest of its classes'.

    Args:
        image_R: (R,) the image of each region, below ``images``.
        class_R: (R,) the class of each region.
        images: I, how many there are; those without regions are among them.
        threshold: LVIS's is 0.001.

    Returns:
        (I,) factors ≥ 1.
    """
    pairs = np.unique(np.stack([image_R, class_R], axis=1), axis=0)
    share = np.bincount(pairs[:, 1]) / images
    factor = np.maximum(1.0, np.sqrt(threshold / np.maximum(share, 1 / images)))
    factors = np.ones(images)
    np.maximum.at(factors, pairs[:, 0], factor[pairs[:, 1]])
    return factors
