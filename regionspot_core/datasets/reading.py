"""Reading annotations of any format that is known, told by what is given."""

from __future__ import annotations

from pathlib import Path

from regionspot_core.datasets.coco import read_coco, read_coco_vocabulary
from regionspot_core.datasets.odinw import find_odinw
from regionspot_core.datasets.openimages import (
    find_boxes,
    read_openimages,
    read_openimages_vocabulary,
)
from regionspot_core.datasets.record import AnnotationSet
from regionspot_core.datasets.vocabulary import Vocabulary


def read_annotations(
    path: Path, *, images: Path | None = None, masks: bool = False
) -> AnnotationSet:
    """Read a data set's annotations.

    Args:
        path: A JSON file of COCO's layout (COCO, LVIS, Objects365, V3Det), OpenImages' CSV file of
            boxes, or a folder that holds either (ODinW's folders, for one).
        images: The folder of images; needed for OpenImages without ``image-sizes.csv`` only.
        masks: Whether to keep the annotations' masks, where the format has them.

    Raises:
        AnnotationError: The file is missing or malformed; see the formats' readers.
    """
    file = _annotation_file(path)
    if _is_csv(file):
        return read_openimages(file, images=images)
    return read_coco(file, masks=masks)


def read_vocabulary(path: Path) -> Vocabulary:
    """The classes of what :func:`read_annotations` would read at ``path``."""
    file = _annotation_file(path)
    return read_openimages_vocabulary(file) if _is_csv(file) else read_coco_vocabulary(file)


def _annotation_file(path: Path) -> Path:
    if not path.is_dir():
        return path
    return find_boxes(path) or find_odinw(path)


def _is_csv(path: Path) -> bool:
    return path.suffix.lower() == ".csv"
