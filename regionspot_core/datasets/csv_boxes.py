"""A CSV file of boxes: a line each, with the image's file name, pixel corners and the class."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from regionspot_core.datasets.builder import AnnotationBuilder
from regionspot_core.datasets.checks import image_name
from regionspot_core.datasets.csv_rows import Digest, csv_header, read_columns
from regionspot_core.datasets.dataset_format import DatasetFormat
from regionspot_core.datasets.table import AnnotationTable
from regionspot_core.datasets.vocabulary import Vocabulary, is_text
from regionspot_core.errors import AnnotationError
from regionspot_core.imaging.sources import ImageSource
from regionspot_core.support.records import shown

COLUMNS = ("file", "x1", "y1", "x2", "y2", "name")


def find_csv_boxes(path: Path) -> Path | None:
    """Return a CSV file itself, or the only one with these columns in a folder; else None.

    Raises:
        AnnotationError: If the folder has several.
    """
    if not path.is_dir():
        return path if path.suffix.lower() == ".csv" else None
    files = [file for file in sorted(path.glob("*.csv")) if set(COLUMNS) <= csv_header(file)]
    if len(files) > 1:
        raise AnnotationError(
            f"{path}: holds {len(files)} CSV files of boxes; give one of them "
            f"({', '.join(file.name for file in files[:3])})"
        )
    return files[0] if files else None


def read_csv_boxes(
    path: Path, *, images: ImageSource | None = None, masks: bool = False
) -> AnnotationTable:
    """Read a CSV file with a header that names at least :data:`COLUMNS`, in any order.

    Corners are in pixels from the image's upper left corner, not rounded: a box is x2 − x1 wide. A
    line with a file alone is an image without regions. Images are numbered from 1 in the order of
    their first lines, annotations by their rows, classes in the order of their names.

    Args:
        path: The file.
        images: Its images, from whose headers the sizes are taken.
        masks: Whether to have masks, which are all empty.

    Raises:
        AnnotationError: If the file is missing, no CSV, lacks a column, or has a line without a
            file, a class or four finite numbers, or names a file outside the image folder.
    """
    digest = hashlib.sha256()
    builder = AnnotationBuilder(path, masks=masks)
    builder.note_no_federation("a CSV file of boxes")
    image_id: dict[str, int] = {}
    class_id: dict[str, int] = {}
    for number, row in enumerate(_read_rows(path, digest), 1):
        if row.file not in image_id:
            image_id[row.file] = len(image_id) + 1
            builder.add_image(image_id[row.file], file=row.file)
        if row.name:
            builder.add_region(
                number,
                image=image_id[row.file],
                class_id=class_id.setdefault(row.name, len(class_id) + 1),
                crowd=False,
                box=row.box,
            )
    _require_names(path, class_id)
    digest.update(builder.read_sizes(images))
    return builder.build(builder.name_classes(list(class_id)), digest.hexdigest())


def read_csv_vocabulary(path: Path) -> Vocabulary:
    """Return the classes that the lines of the file name, by rising name."""
    names = {row.name for row in _read_rows(path, hashlib.sha256()) if row.name}
    _require_names(path, names)
    return Vocabulary.from_names(sorted(names))


class _Row(NamedTuple):
    file: str
    """Path in the image folder."""
    name: str
    """Class; empty for an image without regions."""
    box: tuple[float, ...]
    """x, y, width, height in pixels; empty likewise."""


def _read_rows(path: Path, digest: Digest) -> Iterator[_Row]:
    image_names: dict[str, str] = {}
    class_names: set[str] = set()
    for line, values in read_columns(path, COLUMNS, digest):
        file, *corners, name = map(str.strip, values)
        where = f"{path}: line {line}"
        if file not in image_names:  # checked once, since a file has many lines
            image_names[file] = image_name(where, file)
        box: tuple[float, ...] = ()
        if name or any(corners):
            if name not in class_names and not (name and is_text(name)):
                raise AnnotationError(f"{where}: expected a class as name, got {shown(name)}")
            class_names.add(name)
            box = _box(where, corners)
        yield _Row(image_names[file], name, box)


def _box(where: str, corners: list[str]) -> tuple[float, ...]:
    try:
        x1, y1, x2, y2 = (float(corner) for corner in corners)
    except ValueError:
        x1 = y1 = x2 = y2 = math.nan
    box = (x1, y1, x2 - x1, y2 - y1)
    if not all(map(math.isfinite, box)):
        raise AnnotationError(
            f"{where}: expected finite numbers as {', '.join(COLUMNS[1:-1])}, got {shown(corners)}"
        )
    return box


def _require_names(path: Path, names: Collection[str]) -> None:
    if not names:
        raise AnnotationError(f"{path}: expected at least one box, got none")


CSV_BOXES = DatasetFormat("CSV", (".csv",), find_csv_boxes, read_csv_boxes, read_csv_vocabulary)
