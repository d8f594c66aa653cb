"""A detector's boxes for pictures that have names and no annotations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from regionspot_core.datasets.checks import LONGEST_SIDE, number_in
from regionspot_core.datasets.reading import read_table
from regionspot_core.datasets.record import AnnotationSet
from regionspot_core.datasets.vocabulary import Vocabulary
from regionspot_core.errors import AnnotationError
from regionspot_core.imaging.boxes import xywh_to_xyxy
from regionspot_evaluate.config import WHOLE_PICTURE
from regionspot_evaluate.proposals.boxes import Proposals
from regionspot_evaluate.proposals.files import FORMAT, read_proposals
from regionspot_evaluate.scoring.detections_file import DetectionsFile

_DATA_SET_KEYS = frozenset({"info", "images", "annotations", "categories", "licenses"})


def read_picture_proposals(path: Path, root: Path, names: Sequence[str]) -> list[Proposals]:
    """Return the boxes of every picture, in the pictures' order; they may reach out of it.

    Args:
        path: COCO results, or boxes by image id, as :func:`read_proposals` takes them; an image id
            is a picture's name, or the number that the name is. Or an annotation file, whose
            images are known by their file names and whose boxes have the score 1.
        root: Folder that the names start from, for messages.
        names: The pictures' names.

    Raises:
        AnnotationError: If the file is missing, malformed, of other pictures, or without a box.
    """
    pictures = _as_annotations(root, names)
    if not path.exists():
        raise AnnotationError(
            f"--proposals {path}: neither auto, {WHOLE_PICTURE} nor a file that exists"
        )
    found = _annotated(path, pictures) if _is_data_set(path) else read_proposals(path, pictures)
    if not any(len(each.boxes) for each in found):
        raise AnnotationError(
            f"--proposals {path}: expected boxes to name, got none for any of the pictures "
            f"({names[0]}, …)"
        )
    return found


def _as_annotations(root: Path, names: Sequence[str]) -> AnnotationSet:
    """Return a set of images without boxes, whose sizes are not known yet."""
    numbers = [number_in(PurePosixPath(name).stem) for name in names]
    # COCO's and LVIS's files are called by their ids. Others get ids that no file gives.
    numbered = None not in numbers and len({*numbers}) == len(numbers)
    ids = numbers if numbered else range(-len(names), 0)
    count, nothing = len(names), np.zeros(0, dtype=np.int64)
    return AnnotationSet(
        path=root,
        sha256="",
        vocabulary=Vocabulary.from_names(["any"]),
        image_id=np.array(ids, dtype=np.int64),
        image_size=np.full((count, 2), LONGEST_SIDE, dtype=np.int32),
        image_file=tuple(names),
        region_start=np.zeros(count + 1, dtype=np.int64),
        box=np.zeros((0, 4), dtype=np.float32),
        class_index=nothing.astype(np.int32),
        annotation_id=nothing,
        dropped={},
    )


def _is_data_set(path: Path) -> bool:
    """Return whether a path is of an annotation file, and not of a detector's."""
    if path.is_dir() or path.suffix.lower() != ".json":
        return True
    with DetectionsFile(path, expected=FORMAT) as file:
        if file.opening() != "{":
            return False
        return next(iter(file.stream().members()), None) in _DATA_SET_KEYS


def _annotated(path: Path, pictures: AnnotationSet) -> list[Proposals]:
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
    for name in pictures.image_file:
        image_id = truth.image_names.find(name)
        place = None if image_id is None else place_of[image_id]
        boxes = corners[:0] if place is None else corners[start[place] : start[place + 1]]
        unknown = np.full(len(boxes), -1, dtype=np.int64)
        found.append(Proposals(boxes, np.ones(len(boxes), dtype=np.float32), unknown))
    return found
