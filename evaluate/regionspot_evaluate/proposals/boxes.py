"""The boxes that are to be named, with how sure their detector is of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regionspot_core.datasets.record import AnnotationSet
from regionspot_evaluate.recognition.image_regions import SegmentedRegions


@dataclass(frozen=True)
class Proposals:
    """One image's R boxes."""

    boxes: NDArray[np.float32]
    """(R, 4) xyxy, original pixels"""
    scores: NDArray[np.float32]
    """(R,) in [0, 1]"""
    classes: NDArray[np.int64]
    """(R,) true class indices where they are known, else -1"""

    @classmethod
    def from_annotations(cls, annotations: AnnotationSet, image: int) -> Proposals:
        """Return the annotated boxes of an image, with score 1 and their classes."""
        regions = annotations.regions(image)
        boxes = annotations.box[regions]
        return cls(
            boxes,
            np.ones(len(boxes), dtype=np.float32),
            annotations.class_index[regions].astype(np.int64),
        )

    @classmethod
    def from_sam(cls, regions: SegmentedRegions) -> Proposals:
        """Return regions that SAM found by itself, with its predicted IoU as their score."""
        unknown = np.full(len(regions.boxes), -1, dtype=np.int64)
        return cls(regions.boxes.astype(np.float32), regions.predicted_iou, unknown)
