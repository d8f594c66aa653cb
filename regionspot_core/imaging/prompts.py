"""What points SAM at a region: a box, some points, or a mask. All in original-image pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regionspot_core.errors import InputError
from regionspot_core.imaging.boxes import FloatArray
from regionspot_core.imaging.transforms import Size
from regionspot_core.support.rounding import ROUNDING


@dataclass(frozen=True)
class BoxPrompts:
    """N boxes."""

    boxes: FloatArray
    """(N, 4) xyxy"""

    @classmethod
    def create(cls, boxes: ArrayLike, size: Size) -> BoxPrompts:
        """Check boxes (N, 4), xyxy, against an image of ``size`` (height, width).

        What rounding took over an edge is cut off.

        Raises:
            InputError: A box is malformed, empty, or reaches out of the image.
        """
        array = _cut(_numbers(boxes, "boxes", (4,)), size)
        for box in array:
            x1, y1, x2, y2 = box
            if not (0 <= x1 < x2 <= size[1] and 0 <= y1 < y2 <= size[0]):
                raise InputError(
                    f"box {_listed(box)}: expected x1,y1,x2,y2 with 0 ≤ x1 < x2 ≤ {size[1]} and "
                    f"0 ≤ y1 < y2 ≤ {size[0]}, the image's pixels"
                )
        return cls(array)

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, some: slice) -> BoxPrompts:
        return BoxPrompts(self.boxes[some])


@dataclass(frozen=True)
class PointPrompts:
    """N regions with P points each."""

    points: FloatArray
    """(N, P, 2), x and y"""
    inside: NDArray[np.bool_]
    """(N, P): True for a point on the region, False for one beside it."""

    @classmethod
    def create(
        cls, points: ArrayLike, size: Size, *, inside: ArrayLike | None = None
    ) -> PointPrompts:
        """Check points (N, P, 2), or (N, 2) for one each, against an image of ``size``.

        Args:
            points: x and y.
            size: The image's.
            inside: (N, P), whether a point lies on the region; None: all do.

        Raises:
            InputError: A point is malformed or outside the image, or ``inside`` does not match.
        """
        given = _array(points, "points")
        array = _numbers(given[:, None] if given.ndim == 2 else given, "points", (None, 2))
        array = _cut(array, size)
        for point in array.reshape(-1, 2):
            if not (0 <= point[0] <= size[1] and 0 <= point[1] <= size[0]):
                raise InputError(
                    f"point {_listed(point)}: expected x,y with 0 ≤ x ≤ {size[1]} and "
                    f"0 ≤ y ≤ {size[0]}, the image's pixels"
                )
        shape = array.shape[:2]
        on = np.ones(shape, dtype=bool) if inside is None else np.asarray(inside, dtype=bool)
        if on.shape != shape or (len(on) and not on.any(axis=1).all()):
            raise InputError(
                f"expected for each of the points {shape} whether it is inside, with one that is "
                f"in every region; got an array of {on.shape}"
            )
        return cls(array, on)

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, some: slice) -> PointPrompts:
        return PointPrompts(self.points[some], self.inside[some])


@dataclass(frozen=True)
class MaskPrompts:
    """N masks; SAM is given each with its bounding box."""

    masks: NDArray[np.bool_]
    """(N, H, W)"""

    @classmethod
    def create(cls, masks: ArrayLike, size: Size) -> MaskPrompts:
        """Check masks (N, H, W) against an image of ``size`` (H, W).

        Raises:
            InputError: A mask is of another size or has no pixel.
        """
        array = np.asarray(masks)
        if array.ndim != 3 or array.shape[1:] != size:
            raise InputError(
                f"expected masks (N, {size[0]}, {size[1]}), as high and wide as the image; "
                f"got {array.shape}"
            )
        array = array.astype(bool)
        if not array.any(axis=(1, 2)).all():
            raise InputError("expected masks with at least one pixel each, got an empty one")
        return cls(array)

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, some: slice) -> MaskPrompts:
        return MaskPrompts(self.masks[some])

    @property
    def boxes(self) -> FloatArray:
        """(N, 4) xyxy, the tightest box around each mask."""
        return np.array([_box_of(mask) for mask in self.masks]).reshape(-1, 4)


Prompts: TypeAlias = BoxPrompts | PointPrompts | MaskPrompts


def _box_of(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _array(values: ArrayLike, what: str) -> FloatArray:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"expected {what} as numbers, as many for each; got others") from None


def _numbers(values: ArrayLike, what: str, trailing: tuple[int | None, ...]) -> FloatArray:
    array = _array(values, what)
    if array.size == 0:
        return np.zeros((0, *(length or 1 for length in trailing)))
    fits = array.ndim == 1 + len(trailing) and all(
        length in (None, found) for length, found in zip(trailing, array.shape[1:], strict=True)
    )
    if not fits or not np.isfinite(array).all():
        wanted = ", ".join(["N", *("P" if length is None else str(length) for length in trailing)])
        raise InputError(f"expected {what} as finite numbers ({wanted}), got {array.shape}")
    return array


def _cut(places: FloatArray, size: Size) -> FloatArray:
    """Return x and y in turn, those of them on the edge that are beyond it by rounding alone."""
    far = np.array([size[1], size[0]] * (places.shape[-1] // 2), dtype=np.float64)
    inside = np.clip(places, 0, far)
    return np.where(np.abs(places - inside) <= ROUNDING * max(size), inside, places)


def _listed(values: FloatArray) -> str:
    return ",".join(f"{value:g}" for value in values)
