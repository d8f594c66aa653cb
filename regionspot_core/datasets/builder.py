"""Collecting a data set's images and regions in whatever order a file gives them."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from regionspot_core.datasets.checks import LONGEST_SIDE, locate, locate_all, require_unique, view
from regionspot_core.datasets.class_lists import ClassLists
from regionspot_core.datasets.masks import MaskColumn, Masks
from regionspot_core.datasets.record import AnnotationSet
from regionspot_core.datasets.vocabulary import Vocabulary
from regionspot_core.errors import AnnotationError


class AnnotationBuilder:
    """Columns of plain numbers: eight bytes a value, where a dict an annotation takes a kilobyte.

    Args:
        path: What errors name.
        masks: Whether to keep masks.
        left_out: What the annotations are that are only counted.
        shares: Whether boxes are in shares of the image's sides; else they are in pixels.
    """

    def __init__(
        self, path: Path, *, masks: bool = False, left_out: str = "crowd", shares: bool = False
    ) -> None:
        self._path = path
        self._left_out_name = left_out
        self._shares = shares
        self._image_id = array("q")
        self._image_size = array("q")
        self._image_file: list[str] = []
        self._annotation_id = array("q")
        self._image = array("q")
        self._class = array("q")
        self._left_out = bytearray()
        # Shares are printed with a float32's digits, and OpenImages has 15 million boxes.
        self._box = array("f" if shares else "d")
        self._masks = MaskColumn() if masks else None
        self.negative = ClassListColumn()
        self.not_exhaustive = ClassListColumn()

    def add_image(self, image_id: int, *, height: int, width: int, file: str) -> None:
        """Add an image."""
        if not (1 <= height <= LONGEST_SIDE and 1 <= width <= LONGEST_SIDE):
            raise AnnotationError(
                f"{self._path}: image {image_id} has a height or width that is not 1 to "
                f"{LONGEST_SIDE:,} pixels"
            )
        self._image_id.append(image_id)
        self._image_size.extend((height, width))
        self._image_file.append(file)

    def add_region(
        self,
        annotation_id: int,
        *,
        image: int,
        class_id: int,
        left_out: bool,
        box: tuple[float, float, float, float],
        segmentation: object = None,
    ) -> None:
        """Add an annotation.

        Args:
            annotation_id: Its id.
            image: Its image's id.
            class_id: Its class's id.
            left_out: Whether it is only counted.
            box: xyxy, in pixels or shares.
            segmentation: Polygons or an RLE in COCO's layout.

        Raises:
            TypeError, ValueError, OverflowError: The box does not hold numbers.
            AnnotationError: The mask is malformed.
        """
        self._box.extend(box)
        self._annotation_id.append(annotation_id)
        self._image.append(image)
        self._class.append(class_id)
        self._left_out.append(left_out)
        if self._masks is not None:
            self._add_mask(self._masks, annotation_id, None if left_out else segmentation)

    def image_ids(self) -> NDArray[np.int64]:
        """The ids of the images that annotations refer to, in the order of their first ones."""
        ids, first = np.unique(np.array(self._image, dtype=np.int64), return_index=True)
        return ids[np.argsort(first)]

    def uses_class(self, class_id: int) -> bool:
        """Whether an annotation or an image's list refers to the class."""
        columns = (self._class, self.negative.values, self.not_exhaustive.values)
        return any(class_id in column for column in columns)

    def build(
        self, vocabulary: Vocabulary, sha256: str, *, unreadable: NDArray[np.int64] | None = None
    ) -> AnnotationSet:
        """Join, check and sort by image what was collected.

        Args:
            vocabulary: Of the class ids that annotations refer to.
            sha256: Of what was read.
            unreadable: Ids of images that are left out with their annotations.

        Raises:
            AnnotationError: There is no image, ids are not unique, an annotation refers to an
                unknown image or class, or has a box or mask that is not finite.
        """
        path, image_id = self._path, np.array(self._image_id, dtype=np.int64)
        if not len(image_id):
            raise AnnotationError(f"{path}: expected at least one image, got none")
        require_unique(path, "image", image_id)
        annotation_id = view(self._annotation_id, np.int64)
        require_unique(path, "annotation", annotation_id)
        class_ids = np.array(vocabulary.ids, dtype=np.int64)
        class_index = locate_all(
            path, "an annotation's category_id", class_ids, view(self._class, np.int64)
        ).astype(np.int32)
        size = np.array(self._image_size, dtype=np.int32).reshape(-1, 2)
        owner, lost = self._owners(image_id, unreadable)
        region_size = size[owner]
        box = self._boxes(region_size)
        left_out = np.array(self._left_out, dtype=bool)
        empty = ~left_out & ~lost & ~(box[:, 2:] > box[:, :2]).all(axis=1)

        kept = np.flatnonzero(~left_out & ~lost & ~empty)
        kept = kept[np.argsort(owner[kept], kind="stable")]
        counts = np.bincount(owner[kept], minlength=len(image_id))
        dropped = {self._left_out_name: int(left_out.sum()), "empty box": int(empty.sum())}
        if unreadable is not None:
            dropped["images not readable"] = len(unreadable)
        return AnnotationSet(
            path=path,
            sha256=sha256,
            vocabulary=vocabulary,
            image_id=image_id,
            image_size=size,
            image_file=tuple(self._image_file),
            region_start=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            box=box[kept],
            class_index=class_index[kept],
            annotation_id=annotation_id[kept],
            dropped=dropped,
            masks=self._kept_masks(kept, region_size),
            negative=self.negative.lists(path, "neg_category_ids", class_ids),
            not_exhaustive=self.not_exhaustive.lists(
                path, "not_exhaustive_category_ids", class_ids
            ),
        )

    def _add_mask(self, masks: MaskColumn, annotation_id: int, segmentation: object) -> None:
        try:
            masks.append(segmentation)
        except (KeyError, TypeError, ValueError, OverflowError):
            raise AnnotationError(
                f"{self._path}: annotation {annotation_id}: expected as segmentation polygons of "
                f"three or more points each, or an RLE that fills its size"
            ) from None

    def _owners(
        self, image_id: NDArray[np.int64], unreadable: NDArray[np.int64] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The image position of each annotation, and whether its image is left out (then 0)."""
        wanted = view(self._image, np.int64)
        if unreadable is None or not len(unreadable):
            owner = locate_all(self._path, "an annotation's image_id", image_id, wanted)
            return owner, np.zeros(len(owner), dtype=bool)
        lost = locate(unreadable, wanted) >= 0
        owner = np.zeros(len(wanted), dtype=np.int64)
        owner[~lost] = locate_all(self._path, "an annotation's image_id", image_id, wanted[~lost])
        return owner, lost

    def _boxes(self, size: NDArray[np.int32]) -> NDArray[np.float32]:
        """All boxes in pixels, clipped to their images, whose (R, 2) sizes are given."""
        box = np.array(self._box).reshape(-1, 4)
        finite = np.isfinite(box).all(axis=1)
        if not finite.all():
            bad = self._annotation_id[int(np.argmin(finite))]
            raise AnnotationError(f"{self._path}: annotation {bad} has a box that is not finite")
        # Column by column, so that no second copy of a large data set's boxes is made.
        for corner in range(4):
            side = size[:, 1 - corner % 2]
            if self._shares:
                box[:, corner] *= side
            np.clip(box[:, corner], 0, side, out=box[:, corner])
        return box.astype(np.float32, copy=False)

    def _kept_masks(self, kept: NDArray[np.int64], size: NDArray[np.int32]) -> Masks | None:
        if self._masks is None:
            return None
        malformed = self._masks.malformed(size)
        if len(malformed):
            raise AnnotationError(
                f"{self._path}: annotation {self._annotation_id[int(malformed[0])]} has a polygon "
                f"that is not finite, or an RLE of another size than its image"
            )
        return self._masks.masks(kept, size[kept])


class ClassListColumn:
    """Collects a list of class ids for each image."""

    def __init__(self) -> None:
        self.values = array("q")
        self._start = array("q", [0])
        self._given = False

    def append(self, ids: Iterable[int] | None) -> None:
        """Add the next image's list; None where the file has none for it."""
        if ids is not None:
            self._given = True
            self.values.extend(ids)
        self._start.append(len(self.values))

    def lists(self, path: Path, key: str, class_ids: NDArray[np.int64]) -> ClassLists | None:
        """The lists as class indices; None where no image had one."""
        if not self._given:
            return None
        wanted = view(self.values, np.int64)
        index = locate_all(path, f"an image's {key}: category", class_ids, wanted)
        return ClassLists(index.astype(np.int32), view(self._start, np.int64))
