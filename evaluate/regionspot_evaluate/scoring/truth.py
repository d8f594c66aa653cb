"""The annotations that are scored against, as plain columns, checked once."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from regionspot_core.datasets.checks import (
    LONGEST_SIDE,
    locate_all,
    require_unique,
    short,
    view,
    whole_number,
)
from regionspot_core.datasets.coco import Entry, read_tables
from regionspot_core.datasets.masks import MaskColumn, Masks
from regionspot_core.errors import AnnotationError
from regionspot_core.scoring.lvis import FREQUENCIES

LISTS = ("neg_category_ids", "not_exhaustive_category_ids")


@dataclass(frozen=True)
class Truth:
    """I images, K classes and R annotated regions, images and classes by rising id."""

    path: Path
    federated: bool
    """Whether it is LVIS's: only some classes are looked for in an image."""
    image_id: NDArray[np.int64]
    """(I,)"""
    image_size: NDArray[np.int64]
    """(I, 2) height, width in pixels."""
    class_id: NDArray[np.int64]
    """(K,)"""
    frequency: tuple[str, ...]
    """(K,); empty texts where the file is not LVIS's."""
    negative: tuple[tuple[int, ...], ...]
    """(I,) class ids that are known to be absent."""
    not_exhaustive: tuple[tuple[int, ...], ...]
    """(I,) class ids that are not all annotated."""
    region_id: NDArray[np.int64]
    """(R,) in the file's order, as all that follow."""
    image: NDArray[np.int64]
    """(R,) positions in ``image_id``."""
    class_index: NDArray[np.int64]
    """(R,) positions in ``class_id``."""
    box: NDArray[np.float64]
    """(R, 4) x, y, width, height in pixels."""
    area: NDArray[np.float64]
    """(R,) as the file says it."""
    ignored: bool
    """Whether a region has a key ``ignore`` that is set."""
    masks: Masks | None

    @cached_property
    def counts(self) -> NDArray[np.bool_]:
        """(R,) which regions there are for LVIS: its API leaves out those without an area."""
        return self.area > 0

    @cached_property
    def known_pairs(self) -> NDArray[np.int64]:
        """Sorted ``image × K + class`` of the classes that are annotated in an image, or known to
        be absent: those that LVIS judges.
        """
        position = {class_id: index for index, class_id in enumerate(self.class_id.tolist())}
        classes = len(self.class_id)
        absent = [
            image * classes + position[class_id]
            for image, ids in enumerate(self.negative)
            for class_id in ids
            if class_id in position
        ]
        present = self.image[self.counts] * classes + self.class_index[self.counts]
        return np.unique(np.concatenate([present, np.array(absent, dtype=np.int64)]))

    def require_masks(self) -> None:
        """Refuse to score masks where an annotated region has none.

        Raises:
            AnnotationError: It is so; the message names the first.
        """
        if not self.has_mask.all():
            number = self.region_id[int(self.has_mask.argmin())]
            raise AnnotationError(
                f"{self.path}: masks cannot be scored, since annotation {number} has an empty "
                f"segmentation; score boxes alone"
            )

    @property
    def has_mask(self) -> NDArray[np.bool_]:
        """(R,) which annotated regions have a mask; only where masks are kept."""
        assert self.masks is not None
        return (np.diff(self.masks.entry_ring) > 0) | (np.diff(self.masks.entry_counts) > 0)

    def is_known(
        self, image: NDArray[np.int64], class_index: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Which (image, class) pairs are judged: in COCO all."""
        if not self.federated:
            return np.ones(len(image), dtype=bool)
        pairs, wanted = self.known_pairs, image * len(self.class_id) + class_index
        if not len(pairs):
            return np.zeros(len(wanted), dtype=bool)
        place = np.minimum(np.searchsorted(pairs, wanted), len(pairs) - 1)
        known: NDArray[np.bool_] = pairs[place] == wanted
        return known


def read_truth(path: Path, *, federated: bool, masks: bool) -> Truth:
    """Read and check an annotation file of LVIS's or COCO's layout.

    Args:
        path: The file.
        federated: Whether it must have what LVIS's protocol needs.
        masks: Whether to keep the masks.

    Raises:
        AnnotationError: The file is missing or malformed, lacks LVIS's lists or frequencies, an id
            occurs twice, or a region refers to an unknown image or class.
    """
    collector = _Collector(path, federated=federated, masks=masks)
    read_tables(
        path,
        {
            "images": collector.add_image,
            "categories": collector.add_class,
            "annotations": collector.add_region,
        },
    )
    return collector.truth()


class _Collector:
    def __init__(self, path: Path, *, federated: bool, masks: bool) -> None:
        self._path = path
        self._federated = federated
        self._image_id, self._size = array("q"), array("q")
        self._lists: dict[str, list[tuple[int, ...]]] = {name: [] for name in LISTS}
        self._class_id, self._frequency = array("q"), list[str]()
        self._region_id, self._image, self._class = array("q"), array("q"), array("q")
        self._box, self._area = array("d"), array("d")
        self._ignored = False
        self._masks = MaskColumn() if masks else None

    def add_image(self, entry: Entry) -> None:
        self._require(
            "images", ("id", "height", "width", *(LISTS if self._federated else ())), entry
        )
        number = self._whole("an image's id", entry["id"])
        for side in ("height", "width"):
            length = self._whole(f"an image's {side}", entry[side])
            if not 1 <= length <= LONGEST_SIDE:
                raise AnnotationError(f"{self._path}: image {number} has a {side} of {length}")
            self._size.append(length)
        self._image_id.append(number)
        for name in LISTS:
            ids = entry.get(name, [])
            if not isinstance(ids, list):
                raise AnnotationError(
                    f"{self._path}: LVIS scoring needs lists as {' and '.join(LISTS)}; image "
                    f"{number} has {short(ids)} as {name}"
                )
            self._lists[name].append(tuple(self._whole(f"an image's {name}", i) for i in ids))

    def add_class(self, entry: Entry) -> None:
        keys = ("id", "frequency") if self._federated else ("id",)
        self._require("categories", keys, entry)
        if self._federated and entry["frequency"] not in FREQUENCIES:
            raise AnnotationError(
                f"{self._path}: LVIS scoring needs a frequency of {', '.join(FREQUENCIES)}; "
                f"category {entry['id']} has {entry['frequency']!r}"
            )
        self._class_id.append(self._whole("a category's id", entry["id"]))
        self._frequency.append(str(entry.get("frequency", "")))

    def add_region(self, entry: Entry) -> None:
        keys = ["id", "image_id", "category_id", "bbox"]
        keys += ["area", "segmentation"] if self._federated else []
        self._require("annotations", tuple(keys), entry)
        number = self._whole("an annotation's id", entry["id"])
        box = entry["bbox"]
        if not (isinstance(box, list) and len(box) == 4 and all(map(_is_finite, box))):
            raise self._malformed(number, "x, y, width, height as bbox", box)
        if min(box[2:]) < 0:
            raise self._malformed(number, "a bbox whose width and height are not negative", box)
        area = entry.get("area", box[2] * box[3])
        if not _is_finite(area) or area < 0:
            raise self._malformed(number, "a finite number from 0 on as area", area)
        self._region_id.append(number)
        self._image.append(self._whole("an annotation's image_id", entry["image_id"]))
        self._class.append(self._whole("an annotation's category_id", entry["category_id"]))
        self._box.extend(box)
        self._area.append(area)
        self._ignored |= bool(entry.get("ignore"))
        if self._masks is not None:
            segmentation = entry.get("segmentation")
            try:
                self._masks.append(segmentation)
            except (KeyError, TypeError, ValueError, OverflowError):
                raise self._malformed(
                    number, "polygons or an RLE as segmentation", segmentation
                ) from None

    def truth(self) -> Truth:
        path = self._path
        image_id, class_id = view(self._image_id, np.int64), view(self._class_id, np.int64)
        region_id = view(self._region_id, np.int64)
        for what, ids in (("image", image_id), ("category", class_id), ("annotation", region_id)):
            require_unique(path, what, ids)
        if not len(image_id) or not len(class_id):
            raise AnnotationError(f"{path}: expected at least one image and one category")
        images, classes = np.argsort(image_id), np.argsort(class_id)
        image_id, class_id = image_id[images], class_id[classes]
        size = view(self._size, np.int64).reshape(-1, 2)[images]
        image = locate_all(path, "image", image_id, view(self._image, np.int64))
        negative, not_exhaustive = (
            tuple(self._lists[name][place] for place in images.tolist()) for name in LISTS
        )
        return Truth(
            path=path,
            federated=self._federated,
            image_id=image_id,
            image_size=size,
            class_id=class_id,
            frequency=tuple(self._frequency[place] for place in classes.tolist()),
            negative=negative,
            not_exhaustive=not_exhaustive,
            region_id=region_id,
            image=image,
            class_index=locate_all(path, "category", class_id, view(self._class, np.int64)),
            box=view(self._box, np.float64).reshape(-1, 4),
            area=view(self._area, np.float64),
            ignored=self._ignored,
            masks=self._built_masks(size[image].astype(np.int32)),
        )

    def _built_masks(self, size: NDArray[np.int32]) -> Masks | None:
        if self._masks is None:
            return None
        malformed = self._masks.malformed(size)
        if len(malformed):
            number = self._region_id[int(malformed.min())]
            raise AnnotationError(
                f"{self._path}: annotation {number}: expected a segmentation of finite numbers "
                f"and of its image's size"
            )
        return self._masks.masks(np.arange(len(size)), size)

    def _require(self, table: str, keys: tuple[str, ...], entry: Entry) -> None:
        missing = [key for key in keys if key not in entry]
        if missing:
            what = "LVIS" if self._federated else "COCO"
            hint = (
                ": for a file of COCO's give --scorer coco to evaluate score"
                if self._federated
                else ""
            )
            raise AnnotationError(
                f"{self._path}: {what} scoring needs {' and '.join(missing)} in every entry of "
                f"{table}; entry {entry.get('id')} has none{hint}"
            )

    def _whole(self, what: str, value: object) -> int:
        return whole_number(self._path, what, value)

    def _malformed(self, number: int, expected: str, value: object) -> AnnotationError:
        return AnnotationError(
            f"{self._path}: annotation {number}: expected {expected}, got {short(value)}"
        )


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
