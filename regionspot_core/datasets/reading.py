"""The formats of annotation files, and reading whichever of them is given."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from regionspot_core.datasets.coco import COCO
from regionspot_core.datasets.dataset_format import DatasetFormat
from regionspot_core.datasets.odinw import ODINW
from regionspot_core.datasets.openimages import OPENIMAGES
from regionspot_core.datasets.record import AnnotationSet
from regionspot_core.datasets.table import AnnotationTable
from regionspot_core.datasets.vocabulary import Vocabulary
from regionspot_core.errors import AnnotationError

FORMATS: list[DatasetFormat] = [OPENIMAGES, ODINW, COCO]
"""Formats in the order they are asked; the first that finds its file at a path reads it."""


def register_format(added: DatasetFormat) -> None:
    """Add a format, which is asked before all others; it replaces one of the same name."""
    FORMATS[:] = [added, *(each for each in FORMATS if each.name != added.name)]


def annotation_suffixes() -> tuple[str, ...]:
    """Return the endings of annotation files, by which they are told from lists of names."""
    return tuple(dict.fromkeys(suffix for each in FORMATS for suffix in each.suffixes))


def read_table(path: Path, *, images: Path | None = None, masks: bool = False) -> AnnotationTable:
    """Read a data set's annotations, for models and scorers alike.

    Args:
        path: A JSON file of COCO's layout (COCO, LVIS, Objects365, V3Det), OpenImages' CSV file of
            boxes, or a folder that holds either (ODinW's folders, for one).
        images: The folder of images; needed for OpenImages without ``image-sizes.csv`` only.
        masks: Whether to keep the annotations' masks, where the format has them.

    Raises:
        AnnotationError: If the file is missing or malformed; see the formats' readers.
    """
    file, dataset_format = _find(path)
    return dataset_format.read(file, images=images, masks=masks)


def read_annotations(
    path: Path, *, images: Path | None = None, masks: bool = False
) -> AnnotationSet:
    """Read a data set's images and boxes for models; as :func:`read_table`, its regions alone."""
    return read_table(path, images=images, masks=masks).regions()


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
        f"{path}: expected an annotation file, got a folder without one (OpenImages' CSV of "
        f"boxes, or the JSON of an ODinW data set)"
    )
