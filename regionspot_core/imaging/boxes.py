"""Boxes: float arrays (..., 4). Named xyxy or xywh; always pixels, x to the right, y down.

An xyxy box is ``x1, y1, x2, y2`` with the far edges exclusive, so its width is ``x2 - x1``:
the convention of COCO and LVIS, whose files store ``x1, y1, width, height``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regionspot_core.support.rounding import ROUNDING

FloatArray = NDArray[np.floating]


def xywh_to_xyxy(boxes: ArrayLike) -> FloatArray:
    """Convert COCO's ``x, y, width, height`` to corners; (..., 4) to (..., 4)."""
    xywh = np.asarray(boxes, dtype=np.float64)
    return np.concatenate([xywh[..., :2], xywh[..., :2] + xywh[..., 2:]], axis=-1)


def xyxy_to_xywh(boxes: ArrayLike) -> FloatArray:
    """Convert corners to COCO's ``x, y, width, height``; (..., 4) to (..., 4)."""
    xyxy = np.asarray(boxes, dtype=np.float64)
    return np.concatenate([xyxy[..., :2], xyxy[..., 2:] - xyxy[..., :2]], axis=-1)


def has_negative_side(boxes: ArrayLike) -> NDArray[np.bool_]:
    """Return whether xywh boxes (N, 4) have a side below zero by more than rounding, (N,).

    Corners that were equal may differ by the rounding of their coordinates once they are sides.
    """
    xywh = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    farthest = np.abs(xywh[:, :2]).max(axis=1, initial=1.0)
    return np.asarray(xywh[:, 2:].min(axis=1) < -ROUNDING * farthest)


def without_negative_sides(boxes: ArrayLike) -> NDArray[np.float64]:
    """Return xywh boxes (N, 4) whose sides below zero, which are rounding's, are zero."""
    xywh = np.array(boxes, dtype=np.float64)
    np.maximum(xywh[..., 2:], 0.0, out=xywh[..., 2:])
    return xywh


def clip_to_image(boxes: ArrayLike, *, height: float, width: float) -> FloatArray:
    """Clamp xyxy boxes to ``[0, width] × [0, height]``; a box outside becomes empty."""
    xyxy = np.asarray(boxes, dtype=np.float64)
    return np.clip(xyxy, 0.0, np.array([width, height, width, height], dtype=np.float64))


def mirror(boxes: ArrayLike, width: ArrayLike) -> FloatArray:
    """Xyxy boxes (N, 4) as they lie in mirrored images of the given widths, () or (N,) pixels."""
    xyxy = np.asarray(boxes, dtype=np.float64)
    wide = np.asarray(width, dtype=np.float64)
    return np.stack([wide - xyxy[..., 2], xyxy[..., 1], wide - xyxy[..., 0], xyxy[..., 3]], axis=-1)


def jitter(
    boxes: ArrayLike,
    copies: int,
    *,
    height: float,
    width: float,
    shift: float = 0.2,
    scale: float = 0.2,
    rng: np.random.Generator,
) -> FloatArray:
    """Noisy copies (N, copies, 4) of an image's xyxy boxes (N, 4), kept inside the image.

    The centre moves by at most ``shift / 2`` of the box's sides, and each side is multiplied by a
    factor in ``1 - scale … 1 + scale``, all uniform: the box noise of DN-DETR (arXiv 2203.01305,
    section 4.3) with λ1 = ``shift`` and λ2 = ``scale``, halved from its 0.4 so that a copy stays
    the same object's: its IoU with the box is at least 0.64.
    """
    xyxy = np.asarray(boxes, dtype=np.float64)[:, None]
    sides = xyxy[..., 2:] - xyxy[..., :2]
    noise = rng.uniform(-1.0, 1.0, (2, len(xyxy), copies, 2))
    centre = (xyxy[..., :2] + xyxy[..., 2:]) / 2 + noise[0] * sides * shift / 2
    half = sides * (1 + noise[1] * scale) / 2
    noisy = np.concatenate([centre - half, centre + half], axis=-1)
    return clip_to_image(noisy, height=height, width=width)


def box_area(boxes: ArrayLike) -> FloatArray:
    """Return areas (...) in square pixels of xyxy boxes (..., 4); 0 of an inverted box."""
    xyxy = np.asarray(boxes, dtype=np.float64)
    sides = np.clip(xyxy[..., 2:] - xyxy[..., :2], 0.0, None)
    return np.asarray(sides[..., 0] * sides[..., 1])


def box_iou(boxes_n4: ArrayLike, boxes_m4: ArrayLike) -> FloatArray:
    """Intersection over union (N, M) of xyxy boxes (N, 4) and (M, 4); 0 where both are empty."""
    a, b = np.asarray(boxes_n4, dtype=np.float64), np.asarray(boxes_m4, dtype=np.float64)
    # Axis by axis: a short last axis is many times as slow.
    width_NM, height_NM = (
        np.minimum(a[:, None, axis + 2], b[:, axis + 2]) - np.maximum(a[:, None, axis], b[:, axis])
        for axis in range(2)
    )
    intersection: FloatArray = width_NM.clip(min=0) * height_NM.clip(min=0)
    union = box_area(a)[:, None] + box_area(b)[None, :] - intersection
    return np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)
