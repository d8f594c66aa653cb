"""What is encoded of each image: itself, its mirror image, and jittered copies of its boxes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from regionspot_core.datasets.record import AnnotationSet
from regionspot_core.imaging.boxes import jitter, mirror


def prompt_boxes(annotations: AnnotationSet, position: int, copies: int) -> NDArray[np.float32]:
    """Return an image's boxes and jittered copies, (regions, 1 + copies, 4) xyxy, original pixels.

    The copies depend on the image's id and boxes alone: any run makes the same.
    """
    boxes = annotations.box[annotations.regions(position)]
    height, width = annotations.size(position)
    # An id may be negative or of any size; a seed is made of small non-negative words.
    seed = np.frombuffer(annotations.image_id[position].astype("<i8").tobytes(), dtype="<u4")
    rng = np.random.default_rng(seed.tolist())
    noisy = jitter(boxes, copies, height=height, width=width, rng=rng)
    return np.concatenate([boxes[:, None], noisy.astype(np.float32)], axis=1)


def mirrored_boxes(boxes: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """Mirror boxes (..., 4) of an image ``width`` pixels wide."""
    return mirror(boxes, width).astype(np.float32)
