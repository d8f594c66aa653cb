"""Images that hotcoco is told of in place of one that has more detections than it takes.

hotcoco keeps the best 300 detections of an image, all classes together, and fixed AP has no such
limit. LVIS matches within one class of one image, so the image's classes may as well be those of
several images, its stand-ins: each has as many classes as its detections allow.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from regionspot_core.scoring.figures import DETECTIONS
from regionspot_evaluate.scoring.results import Results


class ImageSplits:
    """Splits of crowded images: which split has which class.

    Args:
        results: The detections.
        rows: Detections that count, as rows of ``results.judged``.
        classes: Number of classes.
    """

    def __init__(self, results: Results, rows: NDArray[np.int64], classes: int) -> None:
        # No image has more stand-ins than classes, and their numbers rise as their images do.
        self._stride = classes + 1
        places = results.judged[rows]
        image, class_index = results.image[places], results.class_index[places]
        self._number: dict[int, dict[int, int]] = {}
        for crowded in np.flatnonzero(np.bincount(image) > DETECTIONS).tolist():
            found = np.unique(class_index[image == crowded], return_counts=True)
            self._number[crowded] = _shared_out(*(each.tolist() for each in found))

    def count(self, image: int) -> int:
        """Return the number of an image's splits; most images have one."""
        return 1 + max(self._number.get(image, {}).values(), default=0)

    def number(self, image: int, class_index: int) -> int:
        """Return the split that has a class; a class without detections is in the first."""
        return self._number.get(image, {}).get(class_index, 0)

    def id(self, image: int, number: int) -> int:
        """Return the image id of a split, as hotcoco is given it."""
        return image * self._stride + number

    def ids(self, image: NDArray[np.int32], class_index: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return the image ids of the splits that have these classes of these images."""
        ids = image.astype(np.int64) * self._stride
        for crowded, number in self._number.items():
            rows = np.flatnonzero(image == crowded)
            ids[rows] += [number.get(each, 0) for each in class_index[rows].tolist()]
        return ids

    def image(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the positions of the images that splits belong to."""
        return ids // self._stride


def _shared_out(classes: list[int], times: list[int]) -> dict[int, int]:
    """Return for each class the number of its split; a class of too many detections has its own."""
    number, total, shares = 0, 0, dict[int, int]()
    for class_index, count in zip(classes, times, strict=True):
        if total and total + count > DETECTIONS:
            number, total = number + 1, 0
        total += count
        shares[class_index] = number
    return shares
