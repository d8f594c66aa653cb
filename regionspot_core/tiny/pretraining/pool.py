"""A pool of pretraining scenes held in memory."""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regionspot_core.tiny.scenes import Scene, draw_class_ids, make_scene, scene_generator

MAX_OBJECTS = 5
CHUNK = 500


@dataclass(frozen=True, kw_only=True)
class ScenePool:
    """N scenes of 1 to 5 objects each, classes drawn uniformly.

    Attributes:
        images: uint8 [N, 96, 96, 3].
        owners: int8 [N, 96, 96], the index of each pixel's object, -1 for background.
        boxes: float32 [N, 5, 4], xyxy pixels, zeros past the last object.
        class_ids: int64 [N, 5], category ids, 0 past the last object.
    """

    images: NDArray[np.uint8]
    owners: NDArray[np.int8]
    boxes: NDArray[np.float32]
    class_ids: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.images)


def make_pool(count: int, *, seed: int, workers: int = 2) -> ScenePool:
    """Return the first `count` scenes of the pretraining stream, with any number of `workers`."""
    starts = range(0, count, CHUNK)
    ends = [min(start + CHUNK, count) for start in starts]
    if workers == 1 or count <= CHUNK:
        chunks = [_chunk(seed, start, end) for start, end in zip(starts, ends, strict=True)]
    else:
        with ProcessPoolExecutor(workers) as executor:
            chunks = list(executor.map(_chunk, [seed] * len(ends), starts, ends))
    return ScenePool(
        images=np.concatenate([chunk.images for chunk in chunks]),
        owners=np.concatenate([chunk.owners for chunk in chunks]),
        boxes=np.concatenate([chunk.boxes for chunk in chunks]),
        class_ids=np.concatenate([chunk.class_ids for chunk in chunks]),
    )


def _scenes(seed: int, start: int, end: int) -> Iterator[Scene]:
    for index in range(start, end):
        rng = scene_generator(seed, "pretraining", index)
        yield make_scene(rng, draw_class_ids(rng, int(rng.integers(1, MAX_OBJECTS + 1))))


def _chunk(seed: int, start: int, end: int) -> ScenePool:
    scenes = list(_scenes(seed, start, end))
    boxes = np.zeros((len(scenes), MAX_OBJECTS, 4), np.float32)
    class_ids = np.zeros((len(scenes), MAX_OBJECTS), np.int64)
    owners = np.full((len(scenes), *scenes[0].image.shape[:2]), -1, np.int8)
    for row, scene in enumerate(scenes):
        boxes[row, : len(scene.boxes)] = scene.boxes
        class_ids[row, : len(scene.boxes)] = scene.class_ids
        for index, mask in enumerate(scene.masks):
            owners[row][mask] = index
    images = np.stack([scene.image for scene in scenes])
    return ScenePool(images=images, owners=owners, boxes=boxes, class_ids=class_ids)
