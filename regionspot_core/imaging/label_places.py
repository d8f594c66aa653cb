"""Places for the labels of boxes in a picture, so that none covers another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from regionspot_core.imaging.boxes import FloatArray
from regionspot_core.imaging.transforms import Size


def place_labels(boxes: FloatArray, sizes: Sequence[Size], canvas: Size) -> NDArray[np.int64]:
    """Return (R, 2) x, y of each label's upper left corner.

    A label is at its box where that is free: above, below or inside at a corner, or beside it. Else
    it is at the free place that is nearest; where none is left, at the one that covers least.

    Args:
        boxes: (R, 4) xyxy, pixels of the picture.
        sizes: R heights and widths of the labels, in pixels.
        canvas: Height and width of the picture.
    """
    placed = np.zeros((0, 4))
    places = np.zeros((len(boxes), 2), dtype=np.int64)
    # From above, so that a label moves only away from labels that are there.
    for region in np.lexsort((boxes[:, 0], boxes[:, 1])).tolist():
        height, width = sizes[region]
        far_corner = np.array([width, height])
        room = np.maximum(0, canvas[::-1] - far_corner)
        for corners in (
            _at_box(boxes[region], height, width),
            _anywhere(boxes[region], height, width, room),
        ):
            corners = np.clip(np.round(corners), 0, room)
            labels = np.hstack([corners, corners + far_corner])
            covered = _overlaps(labels, placed)
            best = int(covered.argmin())
            if covered[best] == 0:
                break
        places[region] = corners[best]
        placed = np.vstack([placed, labels[best]])
    return places


def _at_box(box: FloatArray, height: int, width: int) -> NDArray[np.float64]:
    """Return (P, 2) corners of a label at its box, the best places first."""
    x1, y1, x2, y2 = box.tolist()
    rows = (y1 - height, y2, y1, y2 - height)
    columns = (x1, x2 - width, (x1 + x2 - width) / 2)
    beside = [(x2, y1), (x1 - width, y1), (x2, y2 - height), (x1 - width, y2 - height)]
    return np.array([*((x, y) for y in rows for x in columns), *beside], dtype=np.float64)


def _anywhere(
    box: FloatArray, height: int, width: int, room: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return (P, 2) corners all over the picture, those nearest to the box's first."""
    x, y = np.meshgrid(
        np.arange(0, room[0] + width / 4, width / 4), np.arange(0, room[1] + height / 2, height / 2)
    )
    corners = np.stack([x.ravel(), y.ravel()], axis=1)
    return corners[np.argsort(np.square(corners - box[:2]).sum(axis=1), kind="stable")]


def _overlaps(labels: NDArray[np.float64], placed: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (P,) square pixels of other labels that each place would cover."""
    first = np.maximum(labels[:, None, :2], placed[None, :, :2])
    last = np.minimum(labels[:, None, 2:], placed[None, :, 2:])
    areas: NDArray[np.float64] = np.maximum(0, last - first).prod(axis=2).sum(axis=1)
    return areas
