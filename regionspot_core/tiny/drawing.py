"""Shapes and textures as functions of the plane, evaluated on a pixel grid.

Coordinates x (right) and y (down) are in pixels relative to the object's centre, already rotated;
`radius` is the object's nominal radius in pixels. Everything works on float32 arrays of one common
shape [h, w].
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]

MIN_TEXTURE_PERIOD = 6.5
"""Pixels. Finer stripes vanish inside one 8-pixel patch of the tiny backbones."""
DARK_PHASE = 0.25
"""The dark half of a texture is the colour times this."""


def _distance(x: Plane, y: Plane) -> Plane:
    distance: Plane = np.hypot(x, y)
    return distance


def _circle(x: Plane, y: Plane, radius: float) -> Plane:
    return _distance(x, y) - np.float32(radius)


def _square(x: Plane, y: Plane, radius: float) -> Plane:
    return np.maximum(np.abs(x), np.abs(y)) - np.float32(0.78 * radius)


def _triangle(x: Plane, y: Plane, radius: float) -> Plane:
    inradius = np.float32(0.55 * radius)
    slanted = np.float32(math.sqrt(0.75)) * np.abs(x) - np.float32(0.5) * y
    return np.maximum(y, slanted) - inradius


def _star(x: Plane, y: Plane, radius: float) -> Plane:
    """Return the signed distance to a star, whose points are folded onto half a point."""
    tip, notch, half = 1.08 * radius, 0.46 * radius, math.pi / 5
    distance = _distance(x, y)
    angle = np.arctan2(x, -y)
    folded = np.abs(np.mod(angle + half, 2 * half) - half)
    along, across = notch * math.cos(half) - tip, notch * math.sin(half)
    length = math.hypot(along, across)
    normal_across, normal_along = -along / length, across / length
    across_part = np.sin(folded) * np.float32(normal_across)
    along_part = np.cos(folded) * np.float32(normal_along)
    signed: Plane = distance * (across_part + along_part) - np.float32(tip * normal_along)
    return signed


def _cross(x: Plane, y: Plane, radius: float) -> Plane:
    width, length = np.float32(0.3 * radius), np.float32(radius)
    horizontal = np.maximum(np.abs(x) - length, np.abs(y) - width)
    vertical = np.maximum(np.abs(x) - width, np.abs(y) - length)
    outline: Plane = np.minimum(horizontal, vertical)
    return outline


def _ring(x: Plane, y: Plane, radius: float) -> Plane:
    outline: Plane = np.abs(_distance(x, y) - np.float32(0.75 * radius)) - np.float32(0.25 * radius)
    return outline


_OUTLINES: dict[str, Callable[[Plane, Plane, float], Plane]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "ring": _ring,
}

EXTENT = 1.12
"""No shape reaches farther from its centre than this times its radius."""


def coverage(shape: str, x: Plane, y: Plane, radius: float) -> Plane:
    """Share of each pixel that the shape covers, 0 to 1 [h, w]; at least 0.5 is inside."""
    share: Plane = np.clip(np.float32(0.5) - _OUTLINES[shape](x, y, radius), 0, 1)
    return share


def brightness(texture: str, x: Plane, y: Plane, radius: float) -> Plane:
    """Return the colour's factor, `DARK_PHASE` to 1 [h, w]: stripes along y, dots on a grid."""
    if texture == "solid":
        return np.ones_like(x)
    period = np.float32(max(MIN_TEXTURE_PERIOD, 0.46 * radius))
    from_centre_x = np.abs(np.mod(x, period) - period / 2)
    if texture == "striped":
        light = from_centre_x - period / 4
    else:
        from_centre_y = np.abs(np.mod(y, period) - period / 2)
        light = _distance(from_centre_x, from_centre_y) - np.float32(0.34) * period
    # One pixel of soft edge, as for the outlines.
    factor: Plane = DARK_PHASE + (1 - DARK_PHASE) * np.clip(light + np.float32(0.5), 0, 1)
    return factor
