"""A data set's annotations as one table of columns, parsed once, and the two views of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from regionspot_core.datasets.class_lists import ClassLists
from regionspot_core.datasets.masks import MaskColumn, Masks
from regionspot_core.datasets.record import NOT_READABLE, AnnotationSet
from regionspot_core.datasets.truth import NO_OTHERS, OtherImages, Truth
from regionspot_core.datasets.vocabulary import Vocabulary
from regionspot_core.errors import AnnotationError


@dataclass(frozen=True)
class Obstacles:
    """The first reason, in the file's order, why a view cannot be made of a well-formed file."""

    regions: str | None = None
    """Reason why no model can be given the images: one has no file name."""
    truth: str | None = None
    """Reason why no scorer can use the boxes: one has a negative side."""
    federated: str | None = None
    """Part of LVIS's lists of classes that is missing, without which its rules cannot be used."""
    masks: str | None = None
    """Annotation without a mask, for which masks cannot be scored."""


@dataclass(frozen=True)
class AnnotationTable:
    """I images, K classes and E annotations in the file's order, checked once."""

    path: Path
    sha256: str
    vocabulary: Vocabulary
    """The classes that models name."""
    classes: Vocabulary
    """K classes of the file, with Roboflow's unused root category."""
    image_id: NDArray[np.int64]
    """(I,)"""
    image_size: NDArray[np.int32]
    """(I, 2) height, width in pixels."""
    image_file: tuple[str, ...]
    """I paths relative to the image folder; empty texts where a file names none."""
    negative: ClassLists | None
    """Classes, as positions among the K, that are known to be absent from an image."""
    not_exhaustive: ClassLists | None
    """Classes of which an image may show more than are annotated."""
    annotation_id: NDArray[np.int64]
    """(E,)"""
    image: NDArray[np.int64]
    """(E,) positions of their images; −1 for an image that could not be read."""
    class_index: NDArray[np.int32]
    """(E,) positions among the K classes."""
    crowd: NDArray[np.bool_]
    """(E,)"""
    box: NDArray[np.floating]
    """(E, 4) x, y, width, height in pixels; or, with ``shares``, corners x1, y1, x2, y2 in shares
    of the image's sides."""
    shares: bool
    area: NDArray[np.float64] | None
    """(E,) in square pixels, NaN where the file does not say; None where the format never does."""
    ignored: NDArray[np.bool_]
    """(E,) whether annotations have a key ``ignore`` that is set."""
    crowd_name: str
    """The format's word for crowds, for counts."""
    unreadable_images: tuple[str, ...] | None
    """Images that could not be read; None where sizes are not taken from them."""
    mask_column: MaskColumn | None
    obstacles: Obstacles
    others: OtherImages = NO_OTHERS
    """Images that :meth:`only` has left out."""

    def only(self, kept_I: NDArray[np.bool_]) -> AnnotationTable:
        """Return the table of some of the images, as if the file had no others."""
        places, left_out = np.flatnonzero(kept_I), np.flatnonzero(~kept_I)
        number = np.append(np.where(kept_I, np.cumsum(kept_I) - 1, -1), -1)  # the last for -1
        image = number[self.image]
        return replace(
            self,
            image_id=self.image_id[places],
            image_size=self.image_size[places],
            image_file=self._files(places),
            negative=self.negative and self.negative.taken(places),
            not_exhaustive=self.not_exhaustive and self.not_exhaustive.taken(places),
            image=image,
            crowd=self.crowd & (image >= 0),
            others=OtherImages(
                np.concatenate([self.others.image_id, self.image_id[left_out]]),
                self.others.image_file + self._files(left_out),
            ),
        )

    def regions(self) -> AnnotationSet:
        """Return the view for models: boxes clipped, crowds and empty boxes dropped and counted.

        Raises:
            AnnotationError: If an image has no file name.
        """
        self._require(self.obstacles.regions)
        lost = self.image < 0
        box = self._clipped_corners()
        empty = ~self.crowd & ~lost & ~(box[:, 2:] > box[:, :2]).all(axis=1)
        kept = np.flatnonzero(~self.crowd & ~lost & ~empty)
        kept = kept[np.argsort(self.image[kept], kind="stable")]
        counts = np.bincount(self.image[kept], minlength=len(self.image_id))
        dropped = {self.crowd_name: int(self.crowd.sum()), "empty box": int(empty.sum())}
        if self.unreadable_images is not None:
            dropped[NOT_READABLE] = len(self.unreadable_images)
        position = self._vocabulary_position()
        return AnnotationSet(
            path=self.path,
            sha256=self.sha256,
            vocabulary=self.vocabulary,
            image_id=self.image_id,
            image_size=self.image_size,
            image_file=self.image_file,
            region_start=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            box=box[kept],
            class_index=position[self.class_index[kept]],
            annotation_id=self.annotation_id[kept],
            dropped=dropped,
            masks=self._masks(kept),
            negative=self.negative and self.negative.renumbered(position),
            not_exhaustive=self.not_exhaustive and self.not_exhaustive.renumbered(position),
        )

    def truth(self, *, federated: bool) -> Truth:
        """Return the view for scorers: every annotation as the file says it, crowds too.

        Args:
            federated: Whether the scorer needs LVIS's lists of classes.

        Raises:
            AnnotationError: If a box has a negative side, or the file lacks what LVIS needs.
        """
        self._require(self.obstacles.truth)
        if federated:
            self._require(
                self.obstacles.federated
                and f"LVIS's rules need lists of the classes that an image is known not to show, "
                f"and {self.obstacles.federated}"
            )
        ids = np.array(self.classes.ids, dtype=np.int64)
        images, classes = np.argsort(self.image_id), np.argsort(ids)
        image_rank, class_rank = np.argsort(images), np.argsort(classes).astype(np.int32)
        kept = np.flatnonzero(self.image >= 0)
        everything = len(kept) == len(self.image)
        rows: NDArray[np.int64] | slice = slice(None) if everything else kept
        box = self._pixel_boxes()[rows]
        area = box[:, 2] * box[:, 3]
        if self.area is not None:
            area = np.where(np.isnan(self.area[rows]), area, self.area[rows])
        nothing = ClassLists.of([[]] * len(images))
        negative, not_exhaustive = (
            (lists.renumbered(class_rank).taken(images) if lists else nothing)
            for lists in (self.negative, self.not_exhaustive)
        )
        return Truth(
            path=self.path,
            federated=federated,
            image_id=self.image_id[images],
            image_size=self.image_size[images].astype(np.int64),
            image_file=self._files(images),
            class_id=ids[classes],
            frequency=tuple(self.classes.frequencies[place] for place in classes.tolist()),
            negative=negative,
            not_exhaustive=not_exhaustive,
            region_id=self.annotation_id[rows],
            image=image_rank[self.image[rows]],
            class_index=class_rank[self.class_index[rows]].astype(np.int64),
            box=box,
            area=area,
            crowd=self.crowd[rows],
            ignored=self.ignored[rows],
            masks=self._masks(kept),
            others=self.others,
        )

    def boxes_beyond_images(self) -> int:
        """Return how many boxes reach a hundredth of a pixel or more beyond their image."""
        box = self._pixel_boxes()
        size = self.image_size[self.image][:, ::-1]
        beyond = (box[:, :2] < -0.01) | (box[:, :2] + box[:, 2:] > size + 0.01)
        return int((beyond.any(axis=1) & ~self.crowd & (self.image >= 0)).sum())

    def _files(self, places: NDArray[np.int64]) -> tuple[str, ...]:
        return tuple(self.image_file[place] for place in places.tolist())

    def _require(self, obstacle: str | None) -> None:
        if obstacle is not None:
            raise AnnotationError(f"{self.path}: {obstacle}")

    def _vocabulary_position(self) -> NDArray[np.int32]:
        """Return (K,) each class's position in the vocabulary, −1 for the unused root."""
        position = np.full(len(self.classes), -1, dtype=np.int32)
        kept = [
            place for place, i in enumerate(self.classes.ids) if i in self.vocabulary.index_of_id
        ]
        position[kept] = np.arange(len(kept), dtype=np.int32)
        return position

    def _clipped_corners(self) -> NDArray[np.float32]:
        """Return (E, 4) xyxy in pixels, clipped to their images."""
        out = np.empty((len(self.box), 4), dtype=np.float32)
        # Column by column, so that no second copy of a large data set's boxes is made.
        for corner in range(4):
            side = self.image_size[self.image, 1 - corner % 2]
            column = self.box[:, corner]
            if self.shares:
                column = (column * side).astype(self.box.dtype)
            elif corner > 1:
                column = self.box[:, corner - 2] + column
            out[:, corner] = np.clip(column, 0, side)
        return out

    def _pixel_boxes(self) -> NDArray[np.float64]:
        """Return (E, 4) x, y, width, height in pixels, not clipped."""
        if not self.shares:
            return np.asarray(self.box, dtype=np.float64)
        sides = np.tile(self.image_size[self.image][:, ::-1], 2)
        corners = np.asarray(self.box * sides, dtype=np.float64)
        corners[:, 2:] -= corners[:, :2]
        return corners

    def _masks(self, kept: NDArray[np.int64]) -> Masks | None:
        if self.mask_column is None:
            return None
        return self.mask_column.masks(kept, self.image_size[self.image[kept]])
