"""Procedural scenes: a few textured, coloured shapes on a background, with exact boxes and masks.

A scene is a pure function of its random generator, so a data set is a seed and a count. The three
streams (pretraining of the backbones, training of the head, validation) never share a scene.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from regionspot_core.tiny.drawing import EXTENT, Plane, brightness, coverage
from regionspot_core.tiny.names import CLASSES, COLOURS, RGB, TinyClass, class_of

IMAGE_SIZE = 96
RADIUS_RANGE = (11.0, 21.0)
MIN_VISIBLE_SHARE = 0.6
"""An object may hide others only as long as each keeps this share of its own area."""
MIN_CENTRE_DISTANCE = 0.75
"""Least distance of two objects, of the sum of their radii: closer, they would be a heap."""
MAX_TILT = math.radians(15)
PLACEMENT_TRIES = 24
MIN_BACKGROUND_CONTRAST = 70.0
"""Euclidean RGB distance from the background to every object's colour: each has an outline."""

Stream = Literal["pretraining", "train", "val"]
_STREAM_NUMBERS: dict[Stream, int] = {"pretraining": 0, "train": 1, "val": 2}


@dataclass(frozen=True, kw_only=True)
class Scene:
    """An image and its R objects, in drawing order (later ones in front).

    Attributes:
        image: uint8 [96, 96, 3], RGB.
        boxes: float32 [R, 4], xyxy in pixels, the tight box of the visible mask; x2 and y2 are
            exclusive.
        masks: bool [R, 96, 96], the visible pixels; masks never overlap.
        class_ids: int64 [R], category ids 1 to 252.
    """

    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    masks: NDArray[np.bool_]
    class_ids: NDArray[np.int64]


def scene_generator(seed: int, stream: Stream, index: int) -> np.random.Generator:
    """Return the random generator of scene `index` of a stream: no two scenes share one."""
    return np.random.default_rng([seed, _STREAM_NUMBERS[stream], index])


def draw_class_ids(
    rng: np.random.Generator, count: int, weights: NDArray[np.float64] | None = None
) -> list[int]:
    """Return `count` category ids, independent draws. `weights` [252] sum to 1; None is uniform."""
    ids: list[int] = (1 + rng.choice(len(CLASSES), size=count, p=weights)).tolist()
    return ids


def make_scene(rng: np.random.Generator, class_ids: Sequence[int] | None = None) -> Scene:
    """Draw one scene.

    Args:
        rng: decides everything; the same state gives the same scene.
        class_ids: category ids of the objects, back to front; None draws 2 to 5 uniformly. An
            object for which no place is found is left out (hardly ever); the first
            always finds one.
    """
    if class_ids is None:
        class_ids = draw_class_ids(rng, int(rng.integers(2, 6)))
    canvas = _background(rng, [COLOURS[class_of(i).colour] for i in class_ids])
    placed = _Placed.empty()
    for category_id in class_ids:
        _add_object(rng, canvas, placed, class_of(category_id))
    canvas += rng.normal(0, rng.uniform(1, 6), canvas.shape).astype(np.float32)
    indices = np.arange(len(placed.class_ids), dtype=np.int8)
    masks: NDArray[np.bool_] = np.equal(placed.owner[None], indices[:, None, None])
    return Scene(
        image=np.clip(canvas, 0, 255).astype(np.uint8),
        boxes=tight_boxes(masks),
        masks=masks,
        class_ids=np.array(placed.class_ids, dtype=np.int64),
    )


def tight_boxes(masks: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return tight xyxy boxes [R, 4] of non-empty masks [R, H, W], pixels, x2, y2 exclusive."""
    columns: NDArray[np.bool_] = np.any(masks, axis=1)
    rows: NDArray[np.bool_] = np.any(masks, axis=2)
    x1, y1 = columns.argmax(axis=1), rows.argmax(axis=1)
    x2 = columns.shape[1] - columns[:, ::-1].argmax(axis=1)
    y2 = rows.shape[1] - rows[:, ::-1].argmax(axis=1)
    return np.stack([x1, y1, x2, y2], axis=1).astype(np.float32)


@dataclass
class _Placed:
    """Objects on the canvas. `owner` [96, 96] is the front object's index, -1 for background."""

    owner: NDArray[np.int8]
    circles: list[tuple[float, float, float]]
    class_ids: list[int]
    full_areas: list[int]

    @classmethod
    def empty(cls) -> "_Placed":
        return cls(np.full((IMAGE_SIZE, IMAGE_SIZE), -1, np.int8), [], [], [])

    def too_close(self, x: float, y: float, radius: float) -> bool:
        return any(
            math.hypot(x - other_x, y - other_y) < MIN_CENTRE_DISTANCE * (radius + other_radius)
            for other_x, other_y, other_radius in self.circles
        )

    def hides_too_much(self, window: tuple[slice, slice], inside: NDArray[np.bool_]) -> bool:
        areas = np.bincount(self.owner.ravel() + 1, minlength=len(self.class_ids) + 1)[1:]
        hidden = np.bincount(self.owner[window][inside] + 1, minlength=len(self.class_ids) + 1)[1:]
        return bool(((areas - hidden) < MIN_VISIBLE_SHARE * np.array(self.full_areas)).any())


def _add_object(
    rng: np.random.Generator, canvas: NDArray[np.float32], placed: _Placed, tiny_class: TinyClass
) -> None:
    radius = rng.uniform(*RADIUS_RANGE)
    for attempt in range(PLACEMENT_TRIES):
        if attempt == PLACEMENT_TRIES // 2:
            radius = RADIUS_RANGE[0]
        x, y = rng.uniform(radius, IMAGE_SIZE - radius, size=2)
        if placed.too_close(x, y, radius):
            continue
        window, grid_x, grid_y = _local_grid(x, y, radius, rng.uniform(-MAX_TILT, MAX_TILT))
        alpha = coverage(tiny_class.shape, grid_x, grid_y, radius)
        inside = alpha >= 0.5
        if placed.hides_too_much(window, inside):
            continue
        placed.owner[window][inside] = len(placed.class_ids)
        placed.circles.append((x, y, radius))
        placed.class_ids.append(tiny_class.category_id)
        placed.full_areas.append(int(inside.sum()))
        colour = np.array(COLOURS[tiny_class.colour], np.float32) + rng.uniform(-10, 10, 3).astype(
            np.float32
        )
        paint = _textured(rng, tiny_class.texture, grid_x, grid_y, radius)[..., None] * colour
        canvas[window] += alpha[..., None] * (paint - canvas[window])
        return


def _local_grid(
    x: float, y: float, radius: float, tilt: float
) -> tuple[tuple[slice, slice], Plane, Plane]:
    """Return an object's window of the canvas and its pixel centres in the rotated frame."""
    reach = EXTENT * radius + 1
    first_x, last_x = max(0, int(x - reach)), min(IMAGE_SIZE, int(x + reach) + 1)
    first_y, last_y = max(0, int(y - reach)), min(IMAGE_SIZE, int(y + reach) + 1)
    dx = np.arange(first_x, last_x, dtype=np.float32)[None, :] + np.float32(0.5 - x)
    dy = np.arange(first_y, last_y, dtype=np.float32)[:, None] + np.float32(0.5 - y)
    cos, sin = np.float32(math.cos(tilt)), np.float32(math.sin(tilt))
    return (
        (slice(first_y, last_y), slice(first_x, last_x)),
        cos * dx + sin * dy,
        cos * dy - sin * dx,
    )


def _textured(rng: np.random.Generator, texture: str, x: Plane, y: Plane, radius: float) -> Plane:
    """Return brightness [h, w] of a texture with its own random direction and phase."""
    direction = rng.uniform(0, math.pi)
    cos, sin = np.float32(math.cos(direction)), np.float32(math.sin(direction))
    phase_x, phase_y = rng.uniform(0, 2 * radius, size=2).astype(np.float32)
    return brightness(texture, cos * x + sin * y + phase_x, cos * y - sin * x + phase_y, radius)


def _background(rng: np.random.Generator, object_colours: Sequence[RGB]) -> NDArray[np.float32]:
    """Return a muted, softly shaded canvas [96, 96, 3] that stands off from every object colour."""
    colours = np.array(object_colours, np.float64).reshape(-1, 3)
    for _ in range(PLACEMENT_TRIES):
        # Never near black: the dark phase of a texture would melt into it.
        base = rng.uniform(80, 235) + rng.uniform(-40, 40, size=3)
        if (np.linalg.norm(colours - base, axis=1) > MIN_BACKGROUND_CONTRAST).all():
            break
    # A coarse random grid, enlarged bilinearly: gradients, blotches and vignettes in one.
    cells = int(rng.integers(2, 7))
    coarse = rng.normal(0, rng.uniform(2, 14), (cells, cells, 1)) + rng.normal(
        0, 4, (cells, cells, 3)
    )
    steps = np.linspace(0, cells - 1, IMAGE_SIZE)
    low = np.minimum(steps.astype(np.int64), cells - 2)
    weight = np.zeros((IMAGE_SIZE, cells), np.float32)
    weight[np.arange(IMAGE_SIZE), low] = 1 - (steps - low)
    weight[np.arange(IMAGE_SIZE), low + 1] = steps - low
    shading = np.tensordot(np.tensordot(weight, coarse.astype(np.float32), 1), weight, ([1], [1]))
    return (base.astype(np.float32) + shading.transpose(0, 2, 1)).astype(np.float32)
