"""A detector's boxes for pictures that have names and no annotations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from regionspot_core.datasets.checks import LONGEST_SIDE
from regionspot_core.datasets.detections.box_reader import EXPECTED
from regionspot_core.datasets.detections.detections_file import DetectionsFile
from regionspot_core.datasets.image_list import ImageList
from regionspot_core.datasets.reading import read_table
from regionspot_core.errors import AnnotationError
from regionspot_core.imaging.boxes import xywh_to_xyxy
from regionspot_evaluate.config import WHOLE_PICTURE
from regionspot_evaluate.proposals.boxes import Proposals
from regionspot_evaluate.proposals.files import ProposalReader

_DATA_SET_KEYS = frozenset({"info", "images", "annotations", "categories", "licenses"})


def read_picture_proposals(path: Path, root: Path, names: Sequence[str]) -> list[Proposals]:
    """Return the boxes of every picture, in the pictures' order; they may reach out of it.

    Args:
        path: COCO results, or boxes by image id, as :class:`BoxReader` reads them; an image id is a
            picture's name, or the number that the name is. Or an annotation file, whose
            images are known by their file names and whose boxes have the score 1.
        root: Folder that the names start from, for messages.
        names: The pictures' names.

    Raises:
        AnnotationError: If the file is missing, malformed, of other pictures, or without a box.
    """
    if not path.exists():
        raise AnnotationError(
            f"--proposals {path}: neither auto, {WHOLE_PICTURE} nor a file that exists"
        )
    found = _annotated(path, names) if _is_data_set(path) else _detected(path, root, names)
    if not any(len(each.boxes) for each in found):
        raise AnnotationError(
            f"--proposals {path}: expected boxes to name, got none for any of the pictures "
            f"({names[0]}, …)"
        )
    return found


def _is_data_set(path: Path) -> bool:
    """Return whether a path is of an annotation file, and not of a detector's."""
    if path.is_dir() or path.suffix.lower() != ".json":
        return True
    with DetectionsFile(path, expected=EXPECTED) as file:
        if file.opening() != "{":
            return False
        return next(iter(file.stream().members()), None) in _DATA_SET_KEYS


def _detected(path: Path, root: Path, names: Sequence[str]) -> list[Proposals]:
    """Return a detector's boxes; the pictures' sizes are not known yet."""
    size = np.full((len(names), 2), LONGEST_SIDE, dtype=np.int32)
    reader = ProposalReader(path, ImageList.of(names).keys, names, root, size=size)
    reader.read()
    return reader.by_image()


def _annotated(path: Path, names: Sequence[str]) -> list[Proposals]:
    """Return an annotation file's boxes; those of images that are none of the pictures stay out.

    The file need not give sizes: boxes are cut off at the pictures themselves.
    """
    truth = read_table(path).truth(federated=False)
    rows = np.flatnonzero(~truth.crowd)
    rows = rows[np.argsort(truth.image[rows], kind="stable")]
    start = np.searchsorted(truth.image[rows], np.arange(len(truth.image_id) + 1))
    corners = xywh_to_xyxy(truth.box[rows]).astype(np.float32)
    place_of = {image_id: place for place, image_id in enumerate(truth.image_id.tolist())}
    found = []
    for name in names:
        image_id = truth.image_names.find(name)
        place = None if image_id is None else place_of[image_id]
        boxes = corners[:0] if place is None else corners[start[place] : start[place + 1]]
        unknown = np.full(len(boxes), -1, dtype=np.int64)
        found.append(Proposals(boxes, np.ones(len(boxes), dtype=np.float32), unknown))
    return found
