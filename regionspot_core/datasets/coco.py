"""JSON files of COCO's layout: COCO, LVIS, Objects365, V3Det and what tools export in it."""

from __future__ import annotations

import hashlib
import math
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlparse

import numpy as np

from regionspot_core.datasets.builder import AnnotationBuilder
from regionspot_core.datasets.checks import (
    image_name,
    open_annotations,
    require_unique,
    whole_number,
)
from regionspot_core.datasets.dataset_format import DatasetFormat
from regionspot_core.datasets.json_stream import JsonStream
from regionspot_core.datasets.table import AnnotationTable
from regionspot_core.datasets.vocabulary import Vocabulary, is_text
from regionspot_core.errors import AnnotationError
from regionspot_core.imaging.sources import ImageSource
from regionspot_core.imaging.transforms import Size
from regionspot_core.support.records import shown

Entry = dict[str, Any]
TABLES = ("images", "annotations", "categories")
LISTS = ("neg_category_ids", "not_exhaustive_category_ids")
MAX_FLOAT = sys.float_info.max
_NUMBERS = {int, float}
_OBJECTS365_V2_PREFIX = re.compile(r"^images/v[12]/(?=patch\d+/)")
"""Objects365 v2 names ``images/v1/patch8/….jpg`` what its archives unpack to ``patch8/….jpg``."""


def find_coco(path: Path) -> Path | None:
    """Return the file itself; None for a folder."""
    return None if path.is_dir() else path


def read_coco(
    path: Path, *, images: ImageSource | None = None, masks: bool = False
) -> AnnotationTable:
    """Read a JSON file of COCO's layout.

    LVIS v1's ``coco_url`` gives the file name where ``file_name`` is missing, its split folder
    kept.

    Args:
        path: The file.
        images: The images, from whose headers the sizes that the file lacks are taken.
        masks: Whether to keep the annotations' masks.

    Raises:
        AnnotationError: If the file is missing, not JSON, not of this layout, has duplicate ids,
            refers to unknown images or categories, or names an image outside the image folder.
    """
    rows = _Rows(path, masks=masks)
    sha256 = read_tables(
        path,
        {
            "images": rows.add_image,
            "annotations": rows.add_annotation,
            "categories": rows.add_category,
        },
    )
    return rows.table(sha256, images)


def read_coco_vocabulary(path: Path) -> Vocabulary:
    """Return the classes of a JSON file of COCO's layout.

    Raises:
        AnnotationError: If the file is missing, not JSON, not of this layout, or its categories are
            malformed.
    """
    categories, used = CategoryTable(path), set[int]()
    rows = {
        "annotations": lambda entry: used.add(_category_id(path, entry)),
        "categories": categories.add,
    }
    read_tables(path, rows)
    return categories.vocabulary(used.__contains__)


def read_tables(path: Path, rows: Mapping[str, Callable[[Entry], None]]) -> str:
    """Go once through the lists of a file of COCO's layout and return the SHA-256 of its bytes.

    Args:
        path: The file.
        rows: Functions, by a list's name, that take each object of the list. A missing key is
            reported with the object's place.

    Raises:
        AnnotationError: If the file is missing, not JSON, or not an object with lists of objects
            under ``images``, ``annotations`` and ``categories``.
    """
    with open_annotations(path) as file:
        stream, seen = JsonStream(file, path), set[str]()
        if stream.opening() != "{":
            if stream.opening() != "[":
                stream.value()  # says so where it is no JSON at all
            raise _not_this_layout(path)
        for key in stream.members():
            if key not in TABLES:
                stream.skip()
                continue
            if stream.opening() != "[":
                raise _not_this_layout(path)
            if key in seen:
                raise AnnotationError(f"{path}: expected one list of {key}, got two")
            seen.add(key)
            _read_rows(path, stream, key, rows.get(key, lambda entry: None))
        if len(seen) < len(TABLES):
            raise _not_this_layout(path)
        return stream.finish()


def _read_rows(path: Path, stream: JsonStream, key: str, row: Callable[[Entry], None]) -> None:
    for number, entry in enumerate(stream.elements()):
        if not isinstance(entry, dict):
            raise AnnotationError(
                f"{path}: expected objects in {key}, got {shown(entry)} as entry {number}"
            )
        try:
            row(entry)
        except KeyError as error:
            raise AnnotationError(f"{path}: entry {number} of {key}: missing key {error}") from None


def _not_this_layout(path: Path) -> AnnotationError:
    return AnnotationError(
        f"{path}: expected an object with lists {', '.join(TABLES)} (COCO or LVIS layout)"
    )


class _Rows:
    """Entries of a file's lists on their way into a table."""

    def __init__(self, path: Path, *, masks: bool) -> None:
        self._path = path
        self._builder = AnnotationBuilder(path, masks=masks)
        self._categories = CategoryTable(path)

    def add_image(self, image: Entry) -> None:
        """Add an entry of ``images``."""
        image_id = whole_number(self._path, "an image's id", image["id"])
        self._builder.add_image(
            image_id,
            file=self._file_name(image),
            size=self._size(image),
        )
        missing = [key for key in LISTS if image.get(key) is None]
        if missing:
            self._builder.note_no_federation(f"image {image_id}", missing[0])
        self._builder.negative.append(self._class_list(image, LISTS[0]))
        self._builder.not_exhaustive.append(self._class_list(image, LISTS[1]))

    def add_category(self, category: Entry) -> None:
        """Add an entry of ``categories``."""
        self._categories.add(category)

    def add_annotation(self, annotation: Entry) -> None:
        """Add an entry of ``annotations``."""
        number = whole_number(self._path, "an annotation's id", annotation["id"])
        box, area = annotation["bbox"], annotation.get("area", math.nan)
        if not (isinstance(box, list) and len(box) == 4 and _NUMBERS.issuperset(map(type, box))):
            raise self._malformed(number, "x, y, width, height as bbox", box)
        if "area" in annotation and not (type(area) in _NUMBERS and 0 <= area < MAX_FLOAT):
            raise self._malformed(number, "a finite number from 0 on as area", area)
        try:
            self._builder.add_region(
                number,
                image=whole_number(self._path, "an annotation's image_id", annotation["image_id"]),
                class_id=_category_id(self._path, annotation),
                crowd=_is_crowd(self._path, annotation),
                box=box,
                area=area,
                ignored=bool(annotation.get("ignore")),
                segmentation=annotation.get("segmentation"),
            )
        except OverflowError:
            raise self._malformed(number, "x, y, width, height as bbox", box) from None

    def table(self, sha256: str, images: ImageSource | None) -> AnnotationTable:
        """Return everything that was added, checked."""
        sizes = self._builder.read_sizes(images)
        if sizes:
            sha256 = hashlib.sha256(sha256.encode() + sizes).hexdigest()
        vocabulary = self._categories.vocabulary(self._builder.uses_class)
        classes = self._categories.vocabulary(lambda class_id: True)
        return self._builder.build(classes, sha256, vocabulary=vocabulary)

    def _size(self, image: Entry) -> Size | None:
        """Return height, width in pixels; None where the entry lacks one, or has null or 0."""
        height, width = (
            whole_number(self._path, f"an image's {side}", image.get(side) or 0)
            for side in ("height", "width")
        )
        return (height, width) if height and width else None

    def _class_list(self, image: Entry, key: str) -> list[int] | None:
        ids = image.get(key)
        if ids is None:
            return None
        if not isinstance(ids, list):
            raise AnnotationError(
                f"{self._path}: image {image['id']}: expected a list as {key}, got {shown(ids)}"
            )
        return [whole_number(self._path, f"an image's {key}", value) for value in ids]

    def _file_name(self, image: Entry) -> str:
        """Return the image's path in the image folder; "" where the entry has none."""
        name = image.get("file_name")
        if name is None and isinstance(image.get("coco_url"), str):
            name = _name_in_url(image["coco_url"])
        expected = f"image {image['id']}: expected a file name as file_name or coco_url, got"
        if name is None:
            self._builder.note_obstacle("regions", f"{expected} None")
            return ""
        if not isinstance(name, str) or not is_text(name):
            raise AnnotationError(f"{self._path}: {expected} {shown(name)}")
        name = _OBJECTS365_V2_PREFIX.sub("", name, count=1)
        return image_name(f"{self._path}: image {image['id']}", name)

    def _malformed(self, number: int, expected: str, value: object) -> AnnotationError:
        return AnnotationError(
            f"{self._path}: annotation {number}: expected {expected}, got {shown(value)}"
        )


def _is_crowd(path: Path, annotation: Entry) -> bool:
    crowd = annotation.get("iscrowd", 0)
    if crowd not in (0, 1, None):
        raise AnnotationError(
            f"{path}: annotation {annotation['id']}: expected 0 or 1 as iscrowd, got {shown(crowd)}"
        )
    return bool(crowd)


def _category_id(path: Path, annotation: Entry) -> int:
    return whole_number(path, "an annotation's category_id", annotation["category_id"])


def _name_in_url(url: str) -> str | None:
    """Return the name in LVIS v1's URL: ``…/train2017/000000391895.jpg``."""
    try:
        return "/".join(urlparse(url).path.split("/")[-2:]).lstrip("/")
    except ValueError:
        return None


class _Category(NamedTuple):
    class_id: int
    name: str
    frequency: str
    kind: str
    synonyms: tuple[str, ...]
    above: str


class CategoryTable:
    """The categories of a file, collected one by one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: list[_Category] = []

    def add(self, category: Entry) -> None:
        """Add an entry of ``categories``."""
        self._rows.append(
            _Category(
                class_id=whole_number(self._path, "a category's id", category["id"]),
                name=self._name(category),
                frequency=self._label(category, "frequency"),
                kind=self._kind(category),
                synonyms=self._synonyms(category),
                above=self._label(category, "supercategory"),
            )
        )

    def vocabulary(self, uses_class: Callable[[int], bool]) -> Vocabulary:
        """Return the classes in the file's order.

        Args:
            uses_class: Tells whether a class id is used; an unused root category is left out.
        """
        if not self._rows:
            raise AnnotationError(f"{self._path}: expected at least one category, got none")
        ids = np.array([row.class_id for row in self._rows], dtype=np.int64)
        require_unique(self._path, "category", ids)
        root = self._roboflow_root()
        unused = root is not None and not uses_class(root.class_id)
        rows = [row for row in self._rows if not (unused and row is root)]
        return Vocabulary(
            names=tuple(row.name for row in rows),
            ids=tuple(row.class_id for row in rows),
            frequencies=tuple(row.frequency for row in rows),
            kinds=tuple(row.kind for row in rows),
            synonyms=tuple(row.synonyms for row in rows),
        )

    def _roboflow_root(self) -> _Category | None:
        """Return the category that Roboflow, and so ODinW, puts above all the others."""
        roots = [row for row in self._rows if row.above == "none"]
        named = [row for row in self._rows if row.above != "none"]
        is_root = len(roots) == 1 and named and all(row.above == roots[0].name for row in named)
        return roots[0] if is_root else None

    def _name(self, category: Entry) -> str:
        name = category["name"]
        if not isinstance(name, str) or not is_text(name):
            raise AnnotationError(
                f"{self._path}: category {category['id']}: expected a text as name, got "
                f"{shown(name)}"
            )
        return name

    def _synonyms(self, category: Entry) -> tuple[str, ...]:
        words = category.get("synonyms") or ()
        if not isinstance(words, list | tuple) or not all(
            isinstance(word, str) and is_text(word) for word in words
        ):
            raise AnnotationError(
                f"{self._path}: category {category['id']}: expected a list of words as synonyms, "
                f"got {shown(words)}"
            )
        return tuple(words)

    def _kind(self, category: Entry) -> str:
        """Return the file's ``kind``, or V3Det's split of its classes into novel and base ones."""
        if "kind" in category or "novel" not in category:
            return self._label(category, "kind")
        return "novel" if category["novel"] else "base"

    def _label(self, category: Entry, key: str) -> str:
        """Return a word that a category may have; empty where it has none."""
        value = category.get(key, "")
        label = value if isinstance(value, str) else shown(value)
        if not is_text(label):
            raise AnnotationError(
                f"{self._path}: category {category['id']}: expected a text as {key}, got "
                f"{shown(label)}"
            )
        return label


COCO = DatasetFormat("COCO", (".json",), find_coco, read_coco, read_coco_vocabulary)
