"""The view of a data set's annotations that models are given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regionspot_core.datasets.class_lists import ClassLists
from regionspot_core.datasets.masks import Masks
from regionspot_core.datasets.vocabulary import Vocabulary
from regionspot_core.imaging.transforms import Size

NOT_READABLE = "images not readable"
"""Key of the images, not annotations, that are left out where their headers were needed."""


@dataclass(frozen=True)
class AnnotationSet:
    """A data set's images and boxes, in the file's image order. I images, R regions in all."""

    path: Path
    sha256: str
    vocabulary: Vocabulary
    image_id: NDArray[np.int64]
    """(I,)"""
    image_size: NDArray[np.int32]
    """(I, 2): height, width in pixels."""
    image_file: tuple[str, ...]
    """I paths relative to the image folder."""
    region_start: NDArray[np.int64]
    """(I + 1,): image ``i`` owns regions ``region_start[i] : region_start[i + 1]``."""
    box: NDArray[np.float32]
    """(R, 4): xyxy, original pixels, clipped to the image."""
    class_index: NDArray[np.int32]
    """(R,): position in the vocabulary; -1 where there are no labels."""
    annotation_id: NDArray[np.int64]
    """(R,)"""
    dropped: dict[str, int]
    """Number of annotations left out, by reason: a ``crowd`` (OpenImages: ``group of``) or
    an ``empty box``; and of images, ``NOT_READABLE`` where sizes were taken from headers."""
    masks: Masks | None = None
    """R masks; None where they were not asked for or the format has none."""
    negative: ClassLists | None = None
    """LVIS: the classes that are known to be absent from an image; None where no image says."""
    not_exhaustive: ClassLists | None = None
    """LVIS: the classes of which an image may show more than are annotated; None likewise."""

    labelled: bool = True
    """Whether regions have classes; without, every ``class_index`` is -1."""

    def __len__(self) -> int:
        return len(self.image_id)

    def regions(self, image: int) -> slice:
        """Return the regions of the image at position ``image``."""
        return slice(int(self.region_start[image]), int(self.region_start[image + 1]))

    def size(self, image: int) -> Size:
        """Return (height, width) of the image at position ``image``."""
        return int(self.image_size[image, 0]), int(self.image_size[image, 1])

    def fingerprint(self) -> dict[str, Any]:
        """Return what tells this annotation file from another, as plain values."""
        facts = {
            "annotations_sha256": self.sha256,
            "images": len(self),
            "regions": len(self.box),
        }
        return facts if self.labelled else facts | {"labelled": False}
