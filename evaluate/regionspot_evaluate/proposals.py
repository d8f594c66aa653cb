"""The boxes that are to be named, with how sure their detector is of each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from regionspot_core.datasets import AnnotationSet
from regionspot_evaluate.config import GROUND_TRUTH


@dataclass(frozen=True)
class Proposals:
    """One image's R boxes."""

    boxes: NDArray[np.float32]
    """(R, 4) xyxy, original pixels"""
    scores: NDArray[np.float32]
    """(R,) in [0, 1]"""
    classes: NDArray[np.int64]
    """(R,) true class indices where they are known, else -1"""


def load_proposals(source: str, annotations: AnnotationSet) -> list[Proposals]:
    """The proposals of every image of the annotation set, in its order.

    Args:
        source: ``gt``, or the path of a file that :func:`proposal_files.read_proposals` reads.
        annotations: The images, and the boxes for ``gt``.

    Raises:
        AnnotationError: The file is missing or malformed, or names an unknown image.
    """
    if source == GROUND_TRUTH:
        return [_ground_truth(annotations, image) for image in range(len(annotations))]
    # Not above: that module makes what this one defines.
    from regionspot_evaluate.proposal_files import read_proposals

    return read_proposals(Path(source), annotations)


def _ground_truth(annotations: AnnotationSet, image: int) -> Proposals:
    regions = annotations.regions(image)
    boxes = annotations.box[regions]
    return Proposals(
        boxes,
        np.ones(len(boxes), dtype=np.float32),
        annotations.class_index[regions].astype(np.int64),
    )
