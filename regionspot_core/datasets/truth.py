"""The annotations that results are scored against, as plain columns."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from regionspot_core.datasets.class_lists import ClassLists
from regionspot_core.datasets.image_names import ImageNames
from regionspot_core.datasets.masks import Masks
from regionspot_core.errors import AnnotationError


class OtherImages(NamedTuple):
    """O images that the file has too and that are not evaluated."""

    image_id: NDArray[np.int64]
    """(O,)"""
    image_file: tuple[str, ...]
    """O paths relative to the image folder."""


NO_OTHERS = OtherImages(np.zeros(0, dtype=np.int64), ())


@dataclass(frozen=True)
class Truth:
    """I images, K classes and R annotated regions, images and classes by rising id."""

    path: Path
    federated: bool
    """Whether only some classes are annotated in an image, as in LVIS."""
    image_id: NDArray[np.int64]
    """(I,)"""
    image_size: NDArray[np.int64]
    """(I, 2) height, width in pixels."""
    image_file: tuple[str, ...]
    """I paths relative to the image folder; empty texts where the file names none."""
    class_id: NDArray[np.int64]
    """(K,)"""
    frequency: tuple[str, ...]
    """(K,); empty texts where the file is not LVIS's."""
    negative: ClassLists
    """Classes that are known to be absent from an image, as positions in ``class_id``."""
    not_exhaustive: ClassLists
    """Classes that are not all annotated in an image, as positions in ``class_id``."""
    region_id: NDArray[np.int64]
    """(R,) in the file's order, as all that follow."""
    image: NDArray[np.int64]
    """(R,) positions in ``image_id``."""
    class_index: NDArray[np.int64]
    """(R,) positions in ``class_id``."""
    box: NDArray[np.float64]
    """(R, 4) x, y, width, height in pixels."""
    area: NDArray[np.float64]
    """(R,) the file's area in square pixels; the box's where the file has none."""
    crowd: NDArray[np.bool_]
    """(R,)"""
    ignored: NDArray[np.bool_]
    """(R,) whether regions have a key ``ignore`` that is set, which LVIS's API leaves aside."""
    masks: Masks | None
    others: OtherImages = NO_OTHERS
    """Images whose detections are let be."""

    @cached_property
    def image_names(self) -> ImageNames:
        """Return the images by the names of their files."""
        ids = np.concatenate([self.image_id, self.others.image_id])
        return ImageNames(ids, self.image_file + self.others.image_file)

    @cached_property
    def counts(self) -> NDArray[np.bool_]:
        """Return (R,) whether regions count: to LVIS's API those with an area, to COCO's all."""
        return (self.area > 0) | (not self.federated)

    @cached_property
    def known_pairs(self) -> NDArray[np.int64]:
        """Return sorted ``image × K + class`` of the pairs that LVIS judges.

        The class is annotated in the image, or known to be absent from it.
        """
        present = self.image[self.counts] * len(self.class_id) + self.class_index[self.counts]
        return np.unique(np.concatenate([present, self.negative.pairs(len(self.class_id))]))

    def require_masks(self) -> None:
        """Refuse to score masks where an annotated region has none.

        Raises:
            AnnotationError: If a region has no mask; the message names the first.
        """
        if not self.has_mask.all():
            number = self.region_id[int(self.has_mask.argmin())]
            raise AnnotationError(
                f"{self.path}: masks cannot be scored, since annotation {number} has an empty "
                f"segmentation; score boxes alone"
            )

    @property
    def has_mask(self) -> NDArray[np.bool_]:
        """Return (R,) whether annotated regions have a mask; only where masks are kept."""
        assert self.masks is not None
        return self.masks.present

    def is_known(
        self, image: NDArray[np.int64], class_index: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Return the (image, class) pairs that are judged, as flags: in COCO all."""
        if not self.federated:
            return np.ones(len(image), dtype=bool)
        pairs, wanted = self.known_pairs, image * len(self.class_id) + class_index
        if not len(pairs):
            return np.zeros(len(wanted), dtype=bool)
        place = np.minimum(np.searchsorted(pairs, wanted), len(pairs) - 1)
        known: NDArray[np.bool_] = pairs[place] == wanted
        return known
