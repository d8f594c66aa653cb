"""OpenImages V6: boxes as CSV, in shares of images whose sizes must be found elsewhere."""

from __future__ import annotations

import hashlib
import re
from array import array
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from regionspot_core.datasets.builder import AnnotationBuilder
from regionspot_core.datasets.checks import LONGEST_SIDE, locate
from regionspot_core.datasets.csv_rows import Digest, csv_header, read_columns, read_rows
from regionspot_core.datasets.dataset_format import DatasetFormat
from regionspot_core.datasets.table import AnnotationTable
from regionspot_core.datasets.vocabulary import Vocabulary, is_text
from regionspot_core.errors import AnnotationError
from regionspot_core.imaging.sources import ImageSource
from regionspot_core.imaging.transforms import Size
from regionspot_core.support.records import shown

BOX_COLUMNS = ("ImageID", "LabelName", "XMin", "XMax", "YMin", "YMax", "IsGroupOf")
BOX_NAMES = {"ImageID", "LabelName", "XMin"}
"""Columns by which a file of boxes is told from OpenImages' other CSV files."""
SIZE_COLUMNS = ("ImageID", "Width", "Height")
SIZES_FILE = "image-sizes.csv"
_IMAGE_ID = re.compile(r"[0-9a-f]{16}")


def find_openimages(folder: Path) -> Path | None:
    """Return the one CSV file of OpenImages' boxes in ``folder``, or the file itself, or None.

    Raises:
        AnnotationError: If the folder has several.
    """
    if not folder.is_dir():
        return folder if {"ImageID", "LabelName"} & csv_header(folder) else None
    found = [path for path in sorted(folder.glob("*.csv")) if csv_header(path) >= BOX_NAMES]
    if len(found) > 1:
        raise AnnotationError(
            f"{folder}: holds {len(found)} CSV files of boxes; give one of them "
            f"({', '.join(path.name for path in found[:3])})"
        )
    return found[0] if found else None


def read_openimages(
    path: Path,
    *,
    images: ImageSource | None = None,
    masks: bool = False,
) -> AnnotationTable:
    """Read OpenImages boxes, with the class descriptions and image sizes beside them.

    An image's id is its name's 16 hexadecimal digits as a signed 64-bit number and its file
    ``<name>.jpg``; an annotation's id is its row, a class's id its row in the class descriptions,
    both counted from 1. Boxes of groups are crowds.

    Args:
        path: The CSV file of boxes.
        images: The images, from whose headers sizes are taken where no
            ``image-sizes.csv`` (ImageID, Width, Height) lies beside the boxes. Images that it lacks
            or that cannot be read are left out and counted.
        masks: Whether to have masks, which are all empty.

    Raises:
        AnnotationError: If a file is missing or malformed, a box's class has no description, or the
            images' sizes are nowhere to be found.
    """
    digest = hashlib.sha256()
    builder = AnnotationBuilder(path, masks=masks, crowd_name="group of", shares=True)
    builder.note_no_federation("OpenImages' CSV")
    labels, names = _read_classes(_find_classes(path), digest)
    _read_boxes(path, digest, {label: row for row, label in enumerate(labels, 1)}, builder)
    image_id = builder.image_ids()
    sizes = _listed_sizes(path, image_id, digest)
    if sizes is None and images is None:
        raise AnnotationError(
            f"{path}: OpenImages gives boxes in shares of their image; give the folder of images, "
            f"or {SIZES_FILE} ({','.join(SIZE_COLUMNS)}) beside the boxes"
        )
    for place, number in enumerate(image_id.tolist()):
        builder.add_image(
            number, file=_file_name(number), size=None if sizes is None else sizes[place]
        )
    digest.update(builder.read_sizes(images))
    return builder.build(Vocabulary.from_names(names), digest.hexdigest())


def read_openimages_vocabulary(path: Path) -> Vocabulary:
    """Return the classes described beside the CSV file of boxes at ``path``."""
    _, names = _read_classes(_find_classes(path), hashlib.sha256())
    return Vocabulary.from_names(names)


def _find_classes(path: Path) -> Path:
    if not path.exists():
        raise AnnotationError(f"{path}: no such annotation file")
    beside = sorted(path.parent.glob("*class-descriptions*.csv"))
    # The release has the descriptions of its boxes' classes, and of many more for other labels.
    found = [file for file in beside if "boxable" in file.name] or beside
    if len(found) != 1:
        several = f", got {', '.join(file.name for file in found[:3])}" if found else ", got none"
        raise AnnotationError(
            f"{path}: expected one class-descriptions CSV file beside it (such as "
            f"class-descriptions-boxable.csv){several}"
        )
    return found[0]


def _read_classes(
    path: Path,
    digest: Digest,
) -> tuple[list[str], list[str]]:
    """Return labels such as ``/m/011k07`` and their names."""
    labels, names = list[str](), list[str]()
    for line, row in read_rows(path, digest):
        if line == 1 and row[:2] == ["LabelName", "DisplayName"]:
            continue
        if len(row) != 2 or not all(map(is_text, row)):
            raise AnnotationError(
                f"{path}: line {line}: expected a label and its name, got {shown(row)}"
            )
        labels.append(row[0])
        names.append(row[1])
    if not labels:
        raise AnnotationError(f"{path}: expected at least one class, got none")
    if len(set(labels)) < len(labels):
        twice = next(label for place, label in enumerate(labels) if label in labels[:place])
        raise AnnotationError(f"{path}: labels must differ; {shown(twice)} occurs more than once")
    return labels, names


def _read_boxes(
    path: Path,
    digest: Digest,
    class_id: dict[str, int],
    builder: AnnotationBuilder,
) -> None:
    for number, (line, values) in enumerate(read_columns(path, BOX_COLUMNS, digest), 1):
        image, label, x1, x2, y1, y2, group = values
        where = f"{path}: line {line}"
        if label not in class_id:
            raise AnnotationError(f"{where}: label {shown(label)} is not in the class descriptions")
        try:
            box = float(x1), float(y1), float(x2), float(y2)
        except ValueError:
            raise AnnotationError(
                f"{where}: expected numbers as XMin, XMax, YMin, YMax, got "
                f"{shown([x1, x2, y1, y2])}"
            ) from None
        builder.add_region(
            number,
            image=_image_id(where, image),
            class_id=class_id[label],
            crowd=group == "1",  # −1 stands for unknown
            box=box,
        )


def _image_id(where: str, name: str) -> int:
    if not _IMAGE_ID.fullmatch(name):
        raise AnnotationError(
            f"{where}: expected 16 hexadecimal digits as ImageID, got {shown(name)}"
        )
    number = int(name, 16)
    return number - 2**64 if number >= 2**63 else number


def _file_name(image_id: int) -> str:
    return f"{image_id % 2**64:016x}.jpg"


def _listed_sizes(boxes: Path, image_id: NDArray[np.int64], digest: Digest) -> list[Size] | None:
    """Return height, width of each image from the list beside the boxes; None if there is none."""
    path = boxes.parent / SIZES_FILE
    if not path.exists():
        return None
    listed, sides = array("q"), list[Size]()
    for line, (name, width, height) in read_columns(path, SIZE_COLUMNS, digest):
        if not all(
            side.isdecimal() and len(side) < 10 and 0 < int(side) <= LONGEST_SIDE
            for side in (width, height)
        ):
            raise AnnotationError(
                f"{path}: line {line}: expected whole pixels as Width and Height, got "
                f"{shown([width, height])}"
            )
        listed.append(_image_id(f"{path}: line {line}", name))
        sides.append((int(height), int(width)))
    position = locate(np.array(listed, dtype=np.int64), image_id)
    if len(position) and position.min() < 0:
        name = _file_name(int(image_id[int(np.argmin(position))])).removesuffix(".jpg")
        raise AnnotationError(f"{path}: expected every annotated image, found no row for {name}")
    return [sides[place] for place in position.tolist()]


OPENIMAGES = DatasetFormat(
    "OpenImages", (".csv",), find_openimages, read_openimages, read_openimages_vocabulary
)
