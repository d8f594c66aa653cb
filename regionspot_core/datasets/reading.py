"""The formats of annotation files, and reading whichever of them is given."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from regionspot_core.datasets.coco import COCO
from regionspot_core.datasets.csv_boxes import CSV_BOXES
from regionspot_core.datasets.dataset_format import DatasetFormat
from regionspot_core.datasets.odinw import ODINW
from regionspot_core.datasets.openimages import OPENIMAGES
from regionspot_core.datasets.pascal_voc import PASCAL_VOC
from regionspot_core.datasets.record import AnnotationSet
from regionspot_core.datasets.table import AnnotationTable
from regionspot_core.datasets.vocabulary import Vocabulary
from regionspot_core.datasets.yolo import YOLO
from regionspot_core.errors import AnnotationError
from regionspot_core.imaging.sources import ImageSource

FORMATS: list[DatasetFormat] = [OPENIMAGES, CSV_BOXES, PASCAL_VOC, ODINW, YOLO, COCO]
"""Formats in the order they are asked; the first that finds its file at a path reads it."""


def register_format(added: DatasetFormat) -> None:
    """Add a format, which is asked before all others; it replaces one of the same name."""
    FORMATS[:] = [added, *(each for each in FORMATS if each.name != added.name)]


def annotation_suffixes() -> tuple[str, ...]:
    """Return the endings of annotation files, by which they are told from lists of names."""
    return tuple(dict.fromkeys(suffix for each in FORMATS for suffix in each.suffixes))


def read_table(
    path: Path, *, images: ImageSource | None = None, masks: bool = False
) -> AnnotationTable:
    """Read a data set's annotations, for models and scorers alike.

    Args:
        path: A JSON file of COCO's layout (COCO, LVIS, Objects365, V3Det), a CSV file of boxes
            (OpenImages' or ``file, x1, y1, x2, y2, name``), a folder that holds one of these
            (ODinW's folders, for one), or Pascal VOC's folder or split.
        images: The images, from whose headers the sizes that a format lacks are taken.
        masks: Whether to keep the annotations' masks, where the format has them.

    Raises:
        AnnotationError: If the file is missing or malformed; see the formats' readers.
    """
    file, dataset_format = _find(path)
    return dataset_format.read(file, images=images, masks=masks)


def read_annotations(
    path: Path, *, images: ImageSource | None = None, masks: bool = False
) -> AnnotationSet:
    """Read a data set's images and boxes for models; as :func:`read_table`, its regions alone."""
    return read_table(path, images=images, masks=masks).regions()


def format_name(path: Path) -> str:
    """Return the name of the format that :func:`read_table` would read at ``path``."""
    return _find(path).dataset_format.name


def read_vocabulary(path: Path) -> Vocabulary:
    """Return the classes of what :func:`read_table` would read at ``path``."""
    file, dataset_format = _find(path)
    return dataset_format.read_vocabulary(file)


class _FormatFile(NamedTuple):
    file: Path
    dataset_format: DatasetFormat


def _find(path: Path) -> _FormatFile:
    for dataset_format in FORMATS:
        file = dataset_format.find(path)
        if file is not None:
            return _FormatFile(file, dataset_format)
    raise AnnotationError(
        f"{path}: expected an annotation file, got a folder without one (COCO's JSON, YOLO's "
        f"data.yaml, Pascal VOC's Annotations, or a CSV of boxes)"
    )
