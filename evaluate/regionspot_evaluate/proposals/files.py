"""Reading a detector's boxes from the two JSON layouts in which they are exchanged."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import chain, islice, pairwise
from math import isfinite
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from regionspot_core.datasets.checks import locate, view
from regionspot_core.datasets.image_names import ImageNames
from regionspot_core.datasets.record import AnnotationSet
from regionspot_core.errors import AnnotationError
from regionspot_core.imaging.boxes import xywh_to_xyxy, xyxy_to_xywh
from regionspot_evaluate.config import AUTOMATIC, GROUND_TRUTH
from regionspot_evaluate.proposals.boxes import Proposals
from regionspot_evaluate.scoring.detections_file import DetectionsFile
from regionspot_evaluate.scoring.entries import BoxOnly, parse_box
from regionspot_evaluate.scoring.entry_problems import BlockCheck, EntryProblems
from regionspot_evaluate.scoring.entry_reader import EntryReader, boxes, column

FORMAT = "a COCO-results JSON file"
IMAGES_AT_ONCE = 256
"""Images that are checked together in the layout by image ids."""


def read_proposals(path: Path, annotations: AnnotationSet) -> list[Proposals]:
    """Return the proposals of every image of the annotation set, in its order.

    Boxes are clipped to their image, and those with no area inside it are left out.

    Args:
        path: COCO results, a list of objects with ``image_id``, ``bbox`` (x, y, width, height) and
            ``score``; or an object ``{image_id: {"boxes": [[x1, y1, x2, y2], …], "scores":
            […]}}``, as GLIP's users exchange. Classes in either are left aside. An image is named
            by its id, or by its file: by its path, or name, or name without ending.
        annotations: The images.

    Raises:
        AnnotationError: If the file is missing or malformed, or has a box that scoring would refuse
            too: of an unknown image, or with a negative side or a score outside 0 to 1.
    """
    if not path.exists():
        raise AnnotationError(
            f"--proposals {path}: neither {GROUND_TRUTH}, {AUTOMATIC} nor a file that exists"
        )
    reader = _BoxReader(path, annotations)
    with DetectionsFile(path, expected=FORMAT) as file:
        if file.opening() == "{":
            _read_by_image(file, reader)
        else:
            file.read_into(reader)
    return reader.by_image()


class _BoxReader(EntryReader):
    """Boxes as they come: 24 bytes each, whatever their order."""

    noun = "boxes"
    verb = "used"
    form = BoxOnly

    def __init__(self, path: Path, annotations: AnnotationSet) -> None:
        super().__init__(path)
        self._annotations = annotations
        self.images = ImageNames(annotations.image_id, annotations.image_file)
        self._image, self._box, self._score = array("i"), array("f"), array("f")

    def parse(self, value: object) -> BoxOnly:
        """Return an entry of any form that scoring takes too."""
        return parse_box(value, self.images)

    def add(self, entries: Sequence[BoxOnly], numbers: NDArray[np.int64]) -> None:
        """Add entries of COCO results."""
        if not entries:
            return
        box, image_id = boxes(entries), column(entries, "image_id", np.int64)
        with np.errstate(over="ignore"):  # a far corner beyond all floats is clipped
            corners = xywh_to_xyxy(box)
        self.add_corners(image_id, corners, box, column(entries, "score", np.float64), numbers)

    def add_corners(
        self,
        image_id: NDArray[np.int64],
        corners: NDArray[np.floating],
        sides: NDArray[np.floating],
        score: NDArray[np.float64],
        numbers: NDArray[np.int64],
    ) -> None:
        """Add boxes, clipped to their images; count those that cannot be used.

        Args:
            image_id: (n,)
            corners: (n, 4) xyxy, pixels.
            sides: (n, 4) x, y, width, height of the same boxes.
            score: (n,)
            numbers: (n,) places of the boxes in the file.
        """
        image = locate(self._annotations.image_id, image_id)
        check = BlockCheck(self.problems, numbers)
        check.require_ids("image", image, image_id)
        check.require_scores(score)
        check.require_sides(sides)
        if check.bad.any():
            return  # the file is refused in the end
        far = np.tile(self._annotations.image_size[image][:, ::-1], 2)
        self._image.frombytes(image.astype(np.int32).tobytes())
        self._box.frombytes(np.clip(corners, 0, far).astype(np.float32).tobytes())
        self._score.frombytes(score.astype(np.float32).tobytes())

    def require_images(self, image_id: NDArray[np.int64]) -> None:
        """Refuse images that the annotations do not have, even without a box.

        Raises:
            AnnotationError: With the first of them.
        """
        absent = image_id[locate(self._annotations.image_id, image_id) < 0]
        if len(absent):
            raise AnnotationError(
                f"{self.path}: image {absent[0]} is not in {self._annotations.path}"
            )

    def by_image(self) -> list[Proposals]:
        """Return the boxes that are not empty, an image after another, each in the file's order.

        Raises:
            AnnotationError: If a box cannot be used.
        """
        self.finish()
        owner, score = view(self._image, np.int32), view(self._score, np.float32)
        box = view(self._box, np.float32).reshape(-1, 4)
        kept = np.flatnonzero((box[:, 2:] > box[:, :2]).all(axis=1))
        kept = kept[np.argsort(owner[kept], kind="stable")]
        owner, box, score = owner[kept], box[kept], score[kept]
        start = np.searchsorted(owner, np.arange(len(self._annotations) + 1))
        unknown = np.full(len(owner), -1, dtype=np.int64)
        places = [slice(*ends) for ends in pairwise(start)]
        return [Proposals(box[place], score[place], unknown[place]) for place in places]


class _ImageBoxes(msgspec.Struct):
    """An image's boxes in the layout by image ids."""

    boxes: list[tuple[float, float, float, float]]
    """xyxy, pixels."""
    scores: list[float]


def _read_by_image(file: DetectionsFile, reader: _BoxReader) -> None:
    """Read the layout by image ids, a block of images after another."""
    reader.problems = EntryProblems(
        file.path, noun=reader.noun, verb=reader.verb, place="image {}".format
    )
    stream = file.stream()
    images = ((key, _parse_image(file.path, key, stream.value())) for key in stream.members())
    while block := list(islice(images, IMAGES_AT_ONCE)):
        ids = np.array([_image_id(key, reader) for key, _ in block], dtype=np.int64)
        reader.require_images(ids)
        owner = np.repeat(ids, [len(image.boxes) for _, image in block])
        corners = np.array(
            [box for _, image in block for box in image.boxes], dtype=np.float64
        ).reshape(-1, 4)
        score = np.array([score for _, image in block for score in image.scores], dtype=np.float64)
        with np.errstate(over="ignore"):  # a side beyond all floats is not negative
            sides = xyxy_to_xywh(corners)
        reader.add_corners(owner, corners, sides, score, owner)
        reader.seen += len(owner)
    stream.finish()


def _image_id(key: str, reader: _BoxReader) -> int:
    """Return the id of the image that a key names: by its id, or by its file's name.

    ``000017`` is rather a file's name than the id 17.

    Raises:
        AnnotationError: If it is neither.
    """
    digits = key.removeprefix("-")
    is_number = digits.isdecimal() and len(digits) < 20 and -(2**63) <= int(key) < 2**63
    if is_number and str(int(key)) == key:
        return int(key)
    found = reader.images.find(key)
    if found is not None:
        reader.by_file_name = True
    elif is_number:
        found = int(key)
    else:
        raise AnnotationError(
            f"{reader.path}: image {key[:40]!r}: expected as key an image's id, or the name of one "
            f"of the annotations' images"
        )
    return found


def _parse_image(path: Path, key: str, value: object) -> _ImageBoxes:
    try:
        image = msgspec.convert(value, _ImageBoxes)
        if len(image.boxes) != len(image.scores):
            raise ValueError(f"{len(image.boxes)} boxes and {len(image.scores)} scores")
        if not all(map(isfinite, chain(image.scores, *image.boxes))):
            raise ValueError("expected finite numbers")
    except (ValueError, OverflowError, RecursionError) as error:  # msgspec's are ValueErrors too
        raise AnnotationError(
            f"{path}: image {key[:40]!r}: expected an object by image id, with boxes "
            f"[[x1, y1, x2, y2], …] and as many scores ({error})"
        ) from None
    return image
