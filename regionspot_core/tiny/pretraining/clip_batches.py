"""Batches for the tiny CLIP: views of scenes, and which names are right, wrong or undecided."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from regionspot_core.tiny.models import GRID, PATCH_SIZE
from regionspot_core.tiny.names import CLASSES
from regionspot_core.tiny.pretraining.captions import PLACES, place_index
from regionspot_core.tiny.pretraining.pool import ScenePool
from regionspot_core.tiny.scenes import IMAGE_SIZE

WINDOW_CELLS = 6
"""Side of a window in patches: 48 pixels, a little more than the largest object."""
WINDOW = WINDOW_CELLS * PATCH_SIZE
SHOWN_SHARE = 0.8
"""A box of which the view shows this share counts as seen; shown less, it is undecided."""
CROP_SHARE = 0.1
CROP_MARGIN = 0.3
COLOUR_NOISE = 0.08

POSITIVE, NEGATIVE, UNDECIDED = 1, 0, -1


@dataclass(frozen=True, kw_only=True)
class ClipBatch:
    """Views of B scenes with their truth.

    Attributes:
        images: float32 [B, 3, H, W], RGB 0 to 1, H = W = 96 or 48 for windows.
        cells: int64 [B, T], the position of each of the T patches in the 12 x 12 grid, in row
            order.
        names: int8 [B, 252], `POSITIVE`, `NEGATIVE` or `UNDECIDED`.
        placed_names: the same for names with places, int8 [B, 252 * 9].
    """

    images: torch.Tensor
    cells: torch.Tensor
    names: torch.Tensor
    placed_names: torch.Tensor


def window_batch(pool: ScenePool, count: int, rng: np.random.Generator) -> ClipBatch:
    """Return `count` windows of 6 x 6 patches around an object each, at native scale and place."""
    rows, boxes = _draw_objects(pool, count, rng)
    # Of the origins that show the whole box, any; where patches and box do not fit so, the nearest.
    low = np.ceil((boxes[:, 2:] - WINDOW) / PATCH_SIZE)
    high = np.floor(boxes[:, :2] / PATCH_SIZE)
    low, high = np.minimum(low, high), np.maximum(low, high)
    origins = np.floor(low + rng.random(low.shape) * (high - low + 1)).astype(np.int64)
    origins = origins.clip(0, GRID - WINDOW_CELLS)
    pixels = origins * PATCH_SIZE
    views = np.concatenate([pixels, pixels + WINDOW], axis=1).astype(np.float32)
    images = np.stack(
        [
            pool.images[row, y : y + WINDOW, x : x + WINDOW]
            for row, (x, y) in zip(rows, pixels, strict=True)
        ]
    )
    steps = np.arange(WINDOW_CELLS)
    cells = (origins[:, 1, None, None] + steps[:, None]) * GRID + origins[:, 0, None, None] + steps
    names, placed = _truth(pool, rows, views)
    return ClipBatch(
        images=_with_colour_noise(_as_float(images), rng),
        cells=torch.from_numpy(cells.reshape(count, -1)),
        names=names,
        placed_names=placed,
    )


def scene_batch(pool: ScenePool, count: int, rng: np.random.Generator) -> ClipBatch:
    """Return `count` whole scenes, a tenth of them replaced by enlarged crops around one object.

    Crops teach CLIP-on-crop; places mean nothing in them, so all their placed names are undecided.
    """
    rows, boxes = _draw_objects(pool, count, rng)
    views = np.tile(np.array([0, 0, IMAGE_SIZE, IMAGE_SIZE], np.float32), (count, 1))
    first_crop = count - round(CROP_SHARE * count)
    views[first_crop:] = _crop_views(boxes[first_crop:], rng)
    images = _as_float(pool.images[rows])
    for row in range(first_crop, count):
        images[row] = enlarged(images[row], views[row])
    names, placed = _truth(pool, rows, views)
    placed[first_crop:] = UNDECIDED
    return ClipBatch(
        images=_with_colour_noise(images, rng),
        cells=torch.arange(GRID * GRID).expand(count, -1),
        names=names,
        placed_names=placed,
    )


def enlarged(image: torch.Tensor, view: NDArray[np.float32]) -> torch.Tensor:
    """Return the xyxy box `view`, whole pixels, of an image [3, 96, 96], squashed to its size."""
    x1, y1, x2, y2 = view.astype(int)
    crop = image[None, :, y1:y2, x1:x2]
    return F.interpolate(crop, (IMAGE_SIZE, IMAGE_SIZE), mode="bilinear", align_corners=False)[0]


def _draw_objects(
    pool: ScenePool, count: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return scene numbers [count] and the box [count, 4] of one object of each."""
    rows = rng.integers(0, len(pool), count)
    objects = (pool.class_ids[rows] > 0).sum(axis=1)
    chosen = (rng.random(count) * objects).astype(np.int64)
    return rows, pool.boxes[rows, chosen]


def _crop_views(boxes: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    sizes = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    margins = rng.uniform(0, CROP_MARGIN, boxes.shape) * sizes * np.array([-1, -1, 1, 1])
    views: NDArray[np.float32] = np.round(boxes + margins).clip(0, IMAGE_SIZE).astype(np.float32)
    return views


def _truth(
    pool: ScenePool, rows: NDArray[np.int64], views: NDArray[np.float32]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return `ClipBatch.names` and `placed_names` of views [B, 4], xyxy, of scenes `rows` [B]."""
    boxes, class_ids = pool.boxes[rows], pool.class_ids[rows]
    corners_low = np.maximum(boxes[..., :2], views[:, None, :2])
    corners_high = np.minimum(boxes[..., 2:], views[:, None, 2:])
    shown_area = (corners_high - corners_low).clip(0).prod(axis=-1)
    shown = shown_area / (boxes[..., 2:] - boxes[..., :2]).prod(axis=-1).clip(1)
    names = np.zeros((len(rows), len(CLASSES)), np.int8)
    placed = np.zeros((len(rows), len(CLASSES), len(PLACES)), np.int8)
    places = place_index(boxes)
    exists = class_ids > 0
    # Positives last: a name seen whole is right, whatever else of that name is cut off.
    batch, index = np.nonzero(exists & (shown > 0) & (shown < SHOWN_SHARE))
    names[batch, class_ids[batch, index] - 1] = UNDECIDED
    placed[batch, class_ids[batch, index] - 1] = UNDECIDED
    batch, index = np.nonzero(exists & (shown >= SHOWN_SHARE))
    names[batch, class_ids[batch, index] - 1] = POSITIVE
    placed[batch, class_ids[batch, index] - 1, places[batch, index]] = POSITIVE
    return torch.from_numpy(names), torch.from_numpy(placed.reshape(len(rows), -1))


def _as_float(images: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().div(255)


def _with_colour_noise(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    gain, offset = (
        torch.from_numpy(rng.normal(0, COLOUR_NOISE, (len(images), 3, 1, 1)).astype(np.float32))
        for _ in range(2)
    )
    return images * (1 + gain) + offset
