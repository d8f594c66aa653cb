"""Collecting a data set's images and annotations in whatever order a file gives them."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from regionspot_core.datasets.checks import (
    LONGEST_SIDE,
    locate_all,
    require_unique,
    view,
)
from regionspot_core.datasets.class_lists import ClassLists
from regionspot_core.datasets.image_headers import NO_SIZE, read_sizes
from regionspot_core.datasets.masks import MaskColumn
from regionspot_core.datasets.table import AnnotationTable, Obstacles
from regionspot_core.datasets.vocabulary import Vocabulary
from regionspot_core.errors import AnnotationError
from regionspot_core.imaging.boxes import has_negative_side
from regionspot_core.imaging.sources import ImageSource
from regionspot_core.imaging.transforms import Size
from regionspot_core.support.records import shown


class AnnotationBuilder:
    """Columns of plain numbers: eight bytes a value, where a dict an annotation takes a kilobyte.

    Args:
        path: The file that errors name.
        masks: Whether to keep masks.
        crowd_name: The format's word for crowds.
        shares: Whether boxes are corners in shares of the image's sides; else they are x, y, width,
            height in pixels, and areas are collected.
    """

    def __init__(
        self, path: Path, *, masks: bool = False, crowd_name: str = "crowd", shares: bool = False
    ) -> None:
        self._path = path
        self._crowd_name = crowd_name
        self._shares = shares
        self._image_id = array("q")
        self._image_size = array("q")
        self._image_file: list[str] = []
        self._unsized = array("q")
        """Positions of the images whose size only their header tells."""
        self._unreadable: NDArray[np.bool_] | None = None
        """(I,) images whose header was needed and could not be read; None if none was needed."""
        self._annotation_id = array("q")
        self._image = array("q")
        self._class = array("q")
        self._crowd = bytearray()
        # Shares are printed with a float32's digits, and OpenImages has 15 million boxes.
        self._box = array("f" if shares else "d")
        self._area = array("d")
        self._ignored = bytearray()
        self._masks = MaskColumn() if masks else None
        self._obstacles: dict[str, str] = {}
        self.negative = ClassListColumn()
        self.not_exhaustive = ClassListColumn()

    def add_image(self, image_id: int, *, file: str, size: Size | None = None) -> None:
        """Add an image.

        Args:
            image_id: Its id.
            file: Its path in the image folder.
            size: Height, width in pixels; None where only the image's header tells, which
                :meth:`read_sizes` reads.

        Raises:
            AnnotationError: If a side is not 1 to ``LONGEST_SIDE`` pixels.
        """
        if size is None:
            self._unsized.append(len(self._image_id))
        height, width = size or NO_SIZE
        if size is not None and not all(1 <= side <= LONGEST_SIDE for side in size):
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
        crowd: bool,
        box: Sequence[float],
        area: float = math.nan,
        ignored: bool = False,
        segmentation: object = None,
    ) -> None:
        """Add an annotation.

        Args:
            annotation_id: Its id.
            image: Its image's id.
            class_id: Its class's id.
            crowd: Whether it stands for several instances.
            box: x, y, width, height in pixels; or corners in shares.
            area: Square pixels; NaN where the file has none.
            ignored: Whether its key ``ignore`` is set.
            segmentation: Polygons or an RLE in COCO's layout.

        Raises:
            OverflowError: If a number of the box does not fit a float.
            AnnotationError: If the mask is malformed.
        """
        if not self._shares and min(box[2:]) < 0:
            if has_negative_side(box).any():
                self.note_obstacle(
                    "truth",
                    f"annotation {annotation_id}: expected a box whose width and height are not "
                    f"negative, got {shown(list(box))}",
                )
            else:
                box = (*box[:2], max(box[2], 0), max(box[3], 0))
        self._box.extend(box)
        self._annotation_id.append(annotation_id)
        self._image.append(image)
        self._class.append(class_id)
        self._crowd.append(crowd)
        if not self._shares:
            self._area.append(area)
        self._ignored.append(ignored)
        if not segmentation:
            self.note_obstacle("masks", f"annotation {annotation_id} has no mask")
        if self._masks is not None:
            self._add_mask(self._masks, annotation_id, segmentation)

    def read_sizes(self, images: ImageSource | None) -> bytes:
        """Read the headers of the images that were added without a size.

        Images that are missing or cannot be read are left out of the table and counted.

        Args:
            images: The images; None where it is not known: then models and masks cannot
                have such images, only scorers of boxes.

        Returns:
            The sizes, (I, 2) int64, for the digest of what was read; empty if none was needed.

        Raises:
            AnnotationError: If none of them can be read, or masks need the size of one.
        """
        if not self._unsized:
            return b""
        names = [self._image_file[position] for position in self._unsized]
        if images is None:
            image_id = self._image_id[self._unsized[0]]
            reason = (
                f"image {image_id} ({names[0]}) has no height and width; give the folder of "
                f"images as well, whose headers tell"
            )
            if self._masks is not None and self._masks.has_any:
                raise AnnotationError(f"{self._path}: {reason}")
            self.note_obstacle("regions", reason)
            return b""
        size = np.array(read_sizes(images, names), dtype=np.int64).reshape(-1, 2)
        if not size.any() and len(names) == len(self._image_id):
            raise AnnotationError(
                f"{images.location}: none of the {len(names):,} images that {self._path} "
                f"annotates can be read there ({names[0]}, …); give the folder that the file "
                f"names start from"
            )
        self._unreadable = np.zeros(len(self._image_id), dtype=np.bool_)
        for position, sides in zip(self._unsized, size.tolist(), strict=True):
            self._image_size[2 * position : 2 * position + 2] = array("q", sides)
            self._unreadable[position] = tuple(sides) == NO_SIZE
        return size.tobytes()

    def size(self, position: int) -> Size:
        """Return height, width of the image added at ``position``; 0, 0 where it is not known."""
        return self._image_size[2 * position], self._image_size[2 * position + 1]

    def note_obstacle(self, view: str, reason: str) -> None:
        """Keep the first reason why ``view``, a field of :class:`Obstacles`, cannot be made."""
        self._obstacles.setdefault(view, reason)

    def note_no_federation(self, what: str, key: str = "neg_category_ids") -> None:
        """Note that ``what``, an image or a format in words, lacks what LVIS's protocols need."""
        self.note_obstacle("federated", f"{what} has no {key}, as LVIS's images have")

    def image_ids(self) -> NDArray[np.int64]:
        """Return the ids of the images that annotations name, in the order of their first ones."""
        ids, first = np.unique(np.array(self._image, dtype=np.int64), return_index=True)
        return ids[np.argsort(first)]

    def name_classes(self, met: Sequence[str]) -> Vocabulary:
        """Return classes by rising name, numbered from 1, and renumber the annotations to them.

        Args:
            met: Names in the order a reader met them: until now class ids count these from 1.
        """
        names = sorted(met)
        number = {name: place for place, name in enumerate(names, 1)}
        self._class = array("q", (number[met[class_id - 1]] for class_id in self._class))
        return Vocabulary.from_names(names)

    def uses_class(self, class_id: int) -> bool:
        """Return whether an annotation or an image's list names the class."""
        columns = (self._class, self.negative.values, self.not_exhaustive.values)
        return any(class_id in column for column in columns)

    def build(
        self,
        classes: Vocabulary,
        sha256: str,
        *,
        vocabulary: Vocabulary | None = None,
    ) -> AnnotationTable:
        """Join and check what was collected.

        Args:
            classes: All classes that the file has.
            sha256: Digest of what was read.
            vocabulary: The classes that models name; None for all.

        Raises:
            AnnotationError: If there is no image, ids are not unique, an annotation names an
                unknown image or class, or has a box or mask that is not finite.
        """
        path, image_id = self._path, np.array(self._image_id, dtype=np.int64)
        if not len(image_id):
            raise AnnotationError(f"{path}: expected at least one image, got none")
        require_unique(path, "image", image_id)
        annotation_id = view(self._annotation_id, np.int64)
        require_unique(path, "annotation", annotation_id)
        class_ids = np.array(classes.ids, dtype=np.int64)
        class_index = locate_all(
            path, "an annotation's category_id", class_ids, view(self._class, np.int64)
        ).astype(np.int32)
        size = np.array(self._image_size, dtype=np.int32).reshape(-1, 2)
        image = locate_all(path, "an annotation's image_id", image_id, view(self._image, np.int64))
        lost = np.zeros(len(image_id), np.bool_) if self._unreadable is None else self._unreadable
        kind: type[np.floating] = np.float32 if self._shares else np.float64
        box: NDArray[np.floating] = view(self._box, kind).reshape(-1, 4)
        self._require_finite(box)
        self._require_masks(size[image], lost[image])
        kept = np.flatnonzero(~lost)
        negative, not_exhaustive = (
            column.lists(path, key, class_ids)
            for column, key in (
                (self.negative, "neg_category_ids"),
                (self.not_exhaustive, "not_exhaustive_category_ids"),
            )
        )
        return AnnotationTable(
            path=path,
            sha256=sha256,
            vocabulary=vocabulary or classes,
            classes=classes,
            image_id=image_id[kept],
            image_size=size[kept],
            image_file=tuple(self._image_file[position] for position in kept),
            negative=negative and negative.taken(kept),
            not_exhaustive=not_exhaustive and not_exhaustive.taken(kept),
            annotation_id=annotation_id,
            image=np.where(lost, -1, np.cumsum(~lost) - 1)[image],
            class_index=class_index,
            crowd=view(self._crowd, np.bool_),
            box=box,
            shares=self._shares,
            area=None if self._shares else view(self._area, np.float64),
            ignored=view(self._ignored, np.bool_),
            crowd_name=self._crowd_name,
            unreadable_images=None
            if self._unreadable is None
            else tuple(self._image_file[position] for position in np.flatnonzero(lost)),
            mask_column=self._masks,
            obstacles=Obstacles(**self._obstacles),
        )

    def _add_mask(self, masks: MaskColumn, annotation_id: int, segmentation: object) -> None:
        try:
            masks.append(segmentation)
        except (KeyError, TypeError, ValueError, OverflowError):
            raise AnnotationError(
                f"{self._path}: annotation {annotation_id}: expected as segmentation polygons of "
                f"three or more points each, or an RLE that fills its size"
            ) from None

    def _require_finite(self, box: NDArray[np.floating]) -> None:
        finite = np.isfinite(box).all(axis=1)
        if not self._shares:
            with np.errstate(over="ignore", invalid="ignore"):
                for axis in range(2):  # a far corner may be beyond all floats
                    finite &= np.isfinite(box[:, axis] + box[:, axis + 2])
        if not finite.all():
            bad = self._annotation_id[int(np.argmin(finite))]
            raise AnnotationError(f"{self._path}: annotation {bad} has a box that is not finite")

    def _require_masks(self, size: NDArray[np.int32], lost: NDArray[np.bool_]) -> None:
        """Refuse malformed masks, given each annotation's image's size and whether it is lost."""
        if self._masks is None:
            return
        malformed = [entry for entry in self._masks.malformed(size).tolist() if not lost[entry]]
        if malformed:
            bad = self._annotation_id[min(malformed)]
            raise AnnotationError(
                f"{self._path}: annotation {bad} has a polygon "
                f"that is not finite, or an RLE of another size than its image"
            )


class ClassListColumn:
    """A list of class ids for each image, collected image by image."""

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
        """Return the lists as class indices; None where no image had one."""
        if not self._given:
            return None
        wanted = view(self.values, np.int64)
        index = locate_all(path, f"an image's {key}: category", class_ids, wanted)
        return ClassLists(index.astype(np.int32), view(self._start, np.int64))
