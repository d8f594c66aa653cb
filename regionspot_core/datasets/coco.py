"""JSON files of COCO's layout: COCO, LVIS, Objects365, V3Det and what tools export in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import urlparse

import numpy as np

from regionspot_core.datasets.builder import AnnotationBuilder
from regionspot_core.datasets.checks import (
    open_annotations,
    require_unique,
    short,
    whole_number,
)
from regionspot_core.datasets.json_stream import JsonStream
from regionspot_core.datasets.record import AnnotationSet
from regionspot_core.datasets.vocabulary import Vocabulary, is_text
from regionspot_core.errors import AnnotationError

Entry = dict[str, Any]
TABLES = ("images", "annotations", "categories")
_OBJECTS365_V2_PREFIX = re.compile(r"^images/v[12]/(?=patch\d+/)")
"""Objects365 v2 names ``images/v1/patch8/….jpg`` what its archives unpack to ``patch8/….jpg``."""


def read_coco(path: Path, *, masks: bool = False) -> AnnotationSet:
    """Read a JSON file of COCO's layout.

    Crowd annotations and boxes with no area inside the image are left out and counted. LVIS v1's
    ``coco_url`` gives the file name where ``file_name`` is missing, its split folder kept.

    Args:
        path: The file.
        masks: Whether to keep the annotations' masks.

    Raises:
        AnnotationError: The file is missing, not JSON, not of this layout, has duplicate ids,
            refers to unknown images or categories, or names an image outside the image folder.
    """
    builder, categories = AnnotationBuilder(path, masks=masks), CategoryTable(path)
    rows = {
        "images": lambda entry: _add_image(path, builder, entry),
        "annotations": lambda entry: _add_annotation(path, builder, entry, masks=masks),
        "categories": categories.add,
    }
    sha256 = read_tables(path, rows)
    return builder.build(categories.vocabulary(builder.uses_class), sha256)


def read_coco_vocabulary(path: Path) -> Vocabulary:
    """The classes of a JSON file of COCO's layout.

    Raises:
        AnnotationError: The file is missing, not JSON, not of this layout, or its categories are
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
    """Go once through the lists of a file of COCO's layout; the SHA-256 of its bytes.

    Args:
        path: The file.
        rows: What is called with each object of a list, by the list's name. A missing key is
            reported with the object's place.

    Raises:
        AnnotationError: The file is missing, not JSON, or not an object with lists of objects
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
                f"{path}: expected objects in {key}, got {short(entry)} as entry {number}"
            )
        try:
            row(entry)
        except KeyError as error:
            raise AnnotationError(f"{path}: entry {number} of {key}: missing key {error}") from None


def _not_this_layout(path: Path) -> AnnotationError:
    return AnnotationError(
        f"{path}: expected an object with lists {', '.join(TABLES)} (COCO or LVIS layout)"
    )


def _add_image(path: Path, builder: AnnotationBuilder, image: Entry) -> None:
    image_id = whole_number(path, "an image's id", image["id"])
    builder.add_image(
        image_id,
        height=whole_number(path, "an image's height", image["height"]),
        width=whole_number(path, "an image's width", image["width"]),
        file=_file_name(path, image),
    )
    builder.negative.append(_class_list(path, image, "neg_category_ids"))
    builder.not_exhaustive.append(_class_list(path, image, "not_exhaustive_category_ids"))


def _class_list(path: Path, image: Entry, key: str) -> list[int] | None:
    ids = image.get(key)
    if ids is None:
        return None
    if not isinstance(ids, list):
        raise AnnotationError(
            f"{path}: image {image['id']}: expected a list as {key}, got {short(ids)}"
        )
    return [whole_number(path, f"an image's {key}", value) for value in ids]


def _add_annotation(
    path: Path, builder: AnnotationBuilder, annotation: Entry, *, masks: bool
) -> None:
    annotation_id = whole_number(path, "an annotation's id", annotation["id"])
    bbox = annotation["bbox"]
    try:
        if not isinstance(bbox, list):
            raise TypeError
        x, y, width, height = bbox
        builder.add_region(
            annotation_id,
            image=whole_number(path, "an annotation's image_id", annotation["image_id"]),
            class_id=_category_id(path, annotation),
            left_out=_is_crowd(path, annotation),
            box=(x, y, x + width, y + height),
            segmentation=annotation.get("segmentation") if masks else None,
        )
    except AnnotationError:
        raise
    except (TypeError, ValueError, OverflowError):
        raise AnnotationError(
            f"{path}: annotation {annotation_id}: expected x, y, width, height as bbox, got "
            f"{short(bbox)}"
        ) from None


def _is_crowd(path: Path, annotation: Entry) -> bool:
    crowd = annotation.get("iscrowd", 0)
    if crowd not in (0, 1, None):
        raise AnnotationError(
            f"{path}: annotation {annotation['id']}: expected 0 or 1 as iscrowd, got {short(crowd)}"
        )
    return bool(crowd)


def _category_id(path: Path, annotation: Entry) -> int:
    return whole_number(path, "an annotation's category_id", annotation["category_id"])


def _file_name(path: Path, image: Entry) -> str:
    name = image.get("file_name")
    if name is None and isinstance(image.get("coco_url"), str):
        name = _name_in_url(image["coco_url"])
    if not isinstance(name, str) or not is_text(name):
        raise AnnotationError(
            f"{path}: image {image['id']}: expected a file name as file_name or coco_url, got "
            f"{short(name)}"
        )
    parts = PurePosixPath(_OBJECTS365_V2_PREFIX.sub("", name, count=1))
    if parts.is_absolute() or ".." in parts.parts or not parts.parts or "\\" in name:
        raise AnnotationError(
            f"{path}: image {image['id']}: file name {short(name)} must be relative and stay "
            f"inside the image folder"
        )
    return str(parts)


def _name_in_url(url: str) -> str | None:
    """LVIS v1 gives only a URL: ``…/train2017/000000391895.jpg``."""
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
    """Collects the categories of a file."""

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
        """The classes in the file's order; ``uses_class`` tells whether an id is used."""
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
        """The category that Roboflow, and so ODinW, puts above all the others."""
        roots = [row for row in self._rows if row.above == "none"]
        others = [row for row in self._rows if row.above != "none"]
        is_root = len(roots) == 1 and others and all(row.above == roots[0].name for row in others)
        return roots[0] if is_root else None

    def _name(self, category: Entry) -> str:
        name = category["name"]
        if not isinstance(name, str) or not is_text(name):
            raise AnnotationError(
                f"{self._path}: category {category['id']}: expected a text as name, got "
                f"{short(name)}"
            )
        return name

    def _synonyms(self, category: Entry) -> tuple[str, ...]:
        words = category.get("synonyms") or ()
        if not isinstance(words, list | tuple) or not all(
            isinstance(word, str) and is_text(word) for word in words
        ):
            raise AnnotationError(
                f"{self._path}: category {category['id']}: expected a list of words as synonyms, "
                f"got {short(words)}"
            )
        return tuple(words)

    def _kind(self, category: Entry) -> str:
        """The file's ``kind``, or V3Det's split of its classes into novel and base ones."""
        if "kind" in category or "novel" not in category:
            return self._label(category, "kind")
        return "novel" if category["novel"] else "base"

    def _label(self, category: Entry, key: str) -> str:
        """A word that a category may have; empty where it has none."""
        value = category.get(key, "")
        label = value if isinstance(value, str) else short(value)
        if not is_text(label):
            raise AnnotationError(
                f"{self._path}: category {category['id']}: expected a text as {key}, got "
                f"{short(label)}"
            )
        return label
