"""Reading a detector's boxes from the two JSON layouts in which they are exchanged."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from itertools import chain, islice
from math import isfinite
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from regionspot_core.datasets.checks import locate
from regionspot_core.datasets.detections.detections_file import DetectionsFile
from regionspot_core.datasets.detections.entries import (
    Box,
    FormProblem,
    Id,
    parse_box,
    parse_image,
    parse_number,
    require_keys,
)
from regionspot_core.datasets.detections.entry_problems import BlockCheck, EntryProblems
from regionspot_core.datasets.detections.entry_reader import EntryReader, boxes, column
from regionspot_core.datasets.image_names import ImageNames
from regionspot_core.errors import AnnotationError
from regionspot_core.imaging.boxes import xywh_to_xyxy, xyxy_to_xywh
from regionspot_core.support.records import shown

EXPECTED = (
    "a detector's boxes: COCO results, [{image_id, bbox, score}, …], or {image_id: {boxes, scores}}"
)
IMAGES_AT_ONCE = 256
"""Images that are checked together in the layout by image ids."""
_ABSENT = -(2**63)
"""Id of images that are none of those that are wanted."""


class _Unscored(msgspec.Struct, gc=False):
    """An entry of COCO results whose score nobody asks for."""

    image_id: Id | str
    bbox: Box
    """x, y, width, height, original pixels."""


class _Scored(_Unscored, gc=False):
    """An entry of COCO results."""

    score: float


class BoxBlock(NamedTuple):
    """Boxes of images that are wanted, n of them, in the file's order."""

    image: NDArray[np.int64]
    """(n,) positions among the images."""
    corners: NDArray[np.floating]
    """(n, 4) xyxy, original pixels."""
    sides: NDArray[np.floating]
    """(n, 4) x, y, width, height of the same boxes; below zero by rounding at most."""
    score: NDArray[np.float64]
    """(n,) in [0, 1] but for rounding; zeros where they are not asked for."""
    place: NDArray[np.int64]
    """(n,) places in the file, counted from 0."""

    def at(self, kept: NDArray[np.bool_]) -> BoxBlock:
        """Return some of the boxes."""
        image, corners, sides, score, place = self
        return BoxBlock(image[kept], corners[kept], sides[kept], score[kept], place[kept])


class BoxReader(EntryReader):
    """Boxes on their way from a detector's file, whatever its layout and order.

    An image is named by its id, or by its file: by its path, or name, or name without ending.
    Classes are left aside.

    Args:
        path: COCO results, a list of objects with ``image_id``, ``bbox`` (x, y, width, height) and
            ``score``; or an object ``{image_id: {"boxes": [[x1, y1, x2, y2], …], "scores": […]}}``,
            as GLIP's users exchange.
        ids: (I,) ids of the images that are wanted.
        files: Their I paths.
        source: Place of the images, for messages.
    """

    noun = "boxes"
    verb = "used"
    scored: ClassVar[bool] = True
    """Whether boxes must have scores."""
    leaves_out: ClassVar[bool] = False
    """Whether boxes of other images are left out and counted; else the file is refused."""

    def __init__(
        self, path: Path, ids: NDArray[np.int64], files: Sequence[str], source: object
    ) -> None:
        super().__init__(path)
        self.form = _Scored if self.scored else _Unscored
        self.absent = 0
        """Number of boxes of other images."""
        self.first_absent = ""
        """What the file calls the first of these images."""
        self._ids, self._source = ids, source
        self._known = frozenset(ids.tolist())
        self._names = ImageNames(ids, files)
        self._ids_of_texts: dict[str, int] = {}

    @abstractmethod
    def take(self, block: BoxBlock) -> None:
        """Take boxes that can be used."""

    def read(self) -> None:
        """Read all boxes.

        Raises:
            AnnotationError: If the file is missing or malformed, or has a box that scoring would
                refuse too: with a negative side or a score outside 0 to 1; or of another image.
        """
        with DetectionsFile(self.path, expected=EXPECTED) as file:
            if file.opening() == "{":
                self._read_by_image(file)
            else:
                file.read_into(self)
        self.finish()

    def parse(self, value: object) -> Any:  # noqa: ANN401 - of the reader's own form
        """Return an entry of any form that scoring takes too."""
        keys = ("image_id", "bbox", "score") if self.scored else ("image_id", "bbox")
        entry = require_keys(value, keys)
        image_id = self._image_of(entry["image_id"])
        score = {"score": parse_number("a score", entry["score"])} if self.scored else {}
        return self.form(image_id=image_id, bbox=parse_box(entry["bbox"]), **score)

    def add(self, entries: Sequence[Any], numbers: NDArray[np.int64]) -> None:
        """Add entries of COCO results."""
        if any(isinstance(each.image_id, str) for each in entries):
            entries, numbers = self._with_ids(entries, numbers)
        if not entries:
            return
        sides, ids = boxes(entries), column(entries, "image_id", np.int64)
        with np.errstate(over="ignore"):  # a far corner beyond all floats is clipped
            corners = xywh_to_xyxy(sides)
        score = column(entries, "score", np.float64) if self.scored else np.zeros(len(ids))
        self._add(ids, BoxBlock(ids, corners, sides, score, numbers), numbers)

    def _with_ids(
        self, entries: Sequence[Any], numbers: NDArray[np.int64]
    ) -> tuple[Sequence[Any], NDArray[np.int64]]:
        """Put ids in place of texts; count, and leave out, entries whose text means no image."""
        kept = []
        for place, entry in enumerate(entries):
            try:
                entry.image_id = self._image_of(entry.image_id)
                kept.append(place)
            except FormProblem as problem:
                self.problems.count(problem.kind, [(int(numbers[place]), problem.detail)])
        return [entries[place] for place in kept], numbers[kept]

    def _add(self, ids: NDArray[np.int64], block: BoxBlock, numbers: NDArray[np.int64]) -> None:
        """Hand boxes on; count those that cannot be used, by ``numbers`` that messages show."""
        image = locate(self._ids, ids)
        block = block._replace(image=image)
        if self.leaves_out and (image < 0).any():
            self._leave_out(ids[image < 0])
            kept = image >= 0
            ids, numbers, block = ids[kept], numbers[kept], block.at(kept)
        check = BlockCheck(self.problems, numbers)
        check.require_ids("image", block.image, ids)
        check.require_scores(block.score)
        check.require_sides(block.sides)
        if not check.bad.any():  # else the file is refused in the end
            self.take(block)

    def _leave_out(self, ids: NDArray[np.int64]) -> None:
        self.absent += len(ids)
        if not self.first_absent:
            self.first_absent = str(ids[0])

    def _image_of(self, value: object) -> int:
        """Return the id of the image that an entry or a key means.

        A text is rather a file's name than a number, but for a number as ids are written.
        """
        if not isinstance(value, str):
            return parse_image(value, self._names)
        if value not in self._ids_of_texts:
            self._ids_of_texts[value] = self._image_of_text(value)
        return self._ids_of_texts[value]

    def _image_of_text(self, value: str) -> int:
        number = _number_in(value)
        if number is not None and number in self._known and str(number) == value:
            return number
        found = self._names.find(value)
        if found is not None:
            self.by_file_name = True
            return found
        if number is not None:
            return number
        if not self.leaves_out:
            return parse_image(value, self._names)  # it says what is wrong
        self.first_absent = self.first_absent or shown(value)
        return _ABSENT

    def _read_by_image(self, file: DetectionsFile) -> None:
        """Read the layout by image ids, a block of images after another."""
        self.problems = EntryProblems(
            self.path, noun=self.noun, verb=self.verb, place="image {}".format
        )
        stream = file.stream()
        images = ((key, self._parse_boxes(key, stream.value())) for key in stream.members())
        while block := list(islice(images, IMAGES_AT_ONCE)):
            ids = np.array([self._image_of_key(key) for key, _ in block], dtype=np.int64)
            self._require_images(ids)
            owner = np.repeat(ids, [len(image.boxes) for _, image in block])
            corners = np.array(
                [box for _, image in block for box in image.boxes], dtype=np.float64
            ).reshape(-1, 4)
            scores = [score for _, image in block for score in image.scores]
            score = np.array(scores, dtype=np.float64) if self.scored else np.zeros(len(owner))
            with np.errstate(over="ignore"):  # a side beyond all floats is not negative
                sides = xyxy_to_xywh(corners)
            place = np.arange(self.seen, self.seen + len(owner))
            self._add(owner, BoxBlock(owner, corners, sides, score, place), owner)
            self.seen += len(owner)
        stream.finish()

    def _image_of_key(self, key: str) -> int:
        try:
            return self._image_of(key)
        except FormProblem:
            raise AnnotationError(
                f"{self.path}: image {key[:40]!r}: expected as key an image's id, or the name of "
                f"one of the annotations' images"
            ) from None

    def _require_images(self, ids: NDArray[np.int64]) -> None:
        """Refuse other images, even without a box."""
        absent = ids[locate(self._ids, ids) < 0]
        if len(absent) and not self.leaves_out:
            raise AnnotationError(f"{self.path}: image {absent[0]} is not in {self._source}")

    def _parse_boxes(self, key: str, value: object) -> _ImageBoxes:
        if key in ("images", "annotations"):
            raise AnnotationError(
                f"{self.path}: expected {EXPECTED}, got an annotation file; give it as "
                f"--annotations"
            )
        try:
            image = msgspec.convert(value, _ScoredBoxes if self.scored else _ImageBoxes)
            if self.scored and len(image.boxes) != len(image.scores):
                raise ValueError(f"{len(image.boxes)} boxes and {len(image.scores)} scores")
            if not all(map(isfinite, chain(image.scores, *image.boxes))):
                raise ValueError("expected finite numbers")
        except (ValueError, OverflowError, RecursionError) as error:  # msgspec's are ValueErrors
            scores = " and as many scores" if self.scored else ""
            raise AnnotationError(
                f"{self.path}: image {key[:40]!r}: expected an object by image id, with boxes "
                f"[[x1, y1, x2, y2], …]{scores} ({error})"
            ) from None
        return image


class _ImageBoxes(msgspec.Struct):
    """An image's boxes in the layout by image ids."""

    boxes: list[Box]
    """xyxy, pixels."""
    scores: list[float] = []


class _ScoredBoxes(_ImageBoxes):
    scores: list[float]


def _number_in(text: str) -> int | None:
    """Return the number of 64 bits that a text is; None for any other."""
    digits = text.removeprefix("-")
    is_number = digits.isascii() and digits.isdecimal() and len(digits) < 20
    return int(text) if is_number and -(2**63) <= int(text) < 2**63 else None
