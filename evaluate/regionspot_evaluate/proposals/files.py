"""Reading a detector's boxes from the two JSON layouts in which they are exchanged."""

from __future__ import annotations

from array import array
from itertools import pairwise
from math import isfinite
from pathlib import Path

import numpy as np

from regionspot_core.datasets.checks import short
from regionspot_core.datasets.json_stream import JsonStream
from regionspot_core.datasets.record import AnnotationSet
from regionspot_core.errors import AnnotationError
from regionspot_core.support.input_files import kind_of
from regionspot_evaluate.config import AUTOMATIC, GROUND_TRUTH
from regionspot_evaluate.proposals.boxes import Proposals

FORMAT = "a COCO-results JSON file"


def read_proposals(path: Path, annotations: AnnotationSet) -> list[Proposals]:
    """The proposals of every image of the annotation set, in its order.

    Boxes are clipped to their image, and those with no area inside it are left out.

    Args:
        path: COCO results, a list of objects with ``image_id``, ``bbox`` (x, y, width, height) and
            ``score``; or an object ``{image_id: {"boxes": [[x1, y1, x2, y2], …], "scores":
            […]}}``, as GLIP's users exchange. Classes in either are left aside.
        annotations: The images.

    Raises:
        AnnotationError: The file is missing or malformed, or names an unknown image.
    """
    if path.exists() and not path.is_file():
        raise AnnotationError(f"--proposals {path}: expected {FORMAT}, got {kind_of(path)}")
    columns = _BoxColumns(path, annotations)
    try:
        with path.open("rb") as file:
            stream = JsonStream(file, path, expected=FORMAT)
            _read(stream, path, columns)
            stream.finish()
    except FileNotFoundError:
        raise AnnotationError(
            f"--proposals {path}: neither {GROUND_TRUTH}, {AUTOMATIC} nor a file that exists"
        ) from None
    except OSError as error:
        raise AnnotationError(f"{path}: expected {FORMAT} ({error.strerror})") from None
    return columns.by_image()


def _read(stream: JsonStream, path: Path, columns: _BoxColumns) -> None:
    opening = stream.opening()
    if opening == "[":
        for number, entry in enumerate(stream.elements()):
            _add_result(path, f"entry {number}", entry, columns)
    elif opening == "{":
        for key in stream.members():
            _add_image(path, key, stream.value(), columns)
    else:
        raise AnnotationError(
            f"{path}: expected a list of objects with image_id, bbox and score, or an object of "
            f"boxes and scores by image id, got {type(stream.value()).__name__}"
        )


def _add_result(path: Path, where: str, entry: object, columns: _BoxColumns) -> None:
    """Add an entry of COCO results."""
    try:
        if not isinstance(entry, dict):
            raise TypeError("not an object")
        if not isinstance(entry["image_id"], int):
            raise TypeError(f"image_id {short(entry['image_id'])}")
        x, y, width, height = _four_numbers("bbox", entry["bbox"])
        if min(width, height) < 0:
            raise ValueError(f"bbox {short(entry['bbox'])}")
        score = _score(entry["score"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise AnnotationError(
            f"{path}: {where}: expected image_id, bbox [x, y, width, height] and a score "
            f"between 0 and 1 ({type(error).__name__}: {error})"
        ) from None
    columns.add(where, entry["image_id"], (x, y, x + width, y + height), score)


def _add_image(path: Path, key: str, value: object, columns: _BoxColumns) -> None:
    """Add an image of the layout by image ids."""
    where = f"image {key[:40]!r}"
    try:
        if not key.removeprefix("-").isdecimal():
            raise ValueError("the key is no image id")
        if not isinstance(value, dict):
            raise TypeError("not an object")
        boxes, scores = value["boxes"], value["scores"]
        if not isinstance(boxes, list) or not isinstance(scores, list):
            raise TypeError("boxes and scores must be lists")
        if len(boxes) != len(scores):
            raise ValueError(f"{len(boxes)} boxes and {len(scores)} scores")
        for box, score in zip(boxes, scores, strict=True):
            x1, y1, x2, y2 = _four_numbers("box", box)
            if x2 < x1 or y2 < y1:
                raise ValueError(f"box {short(box)}")
            columns.add(where, int(key), (x1, y1, x2, y2), _score(score))
        columns.require_image(where, int(key))
    except AnnotationError:
        raise
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise AnnotationError(
            f"{path}: {where}: expected an object by image id, with boxes [[x1, y1, x2, y2], …] "
            f"and as many scores between 0 and 1 ({type(error).__name__}: {error})"
        ) from None


def _four_numbers(name: str, box: object) -> list[float]:
    if not isinstance(box, list):
        raise TypeError(f"{name} {short(box)}")
    numbers = [float(value) for value in box]
    if len(numbers) != 4 or not all(map(isfinite, numbers)):
        raise ValueError(f"{name} {short(box)}")
    return numbers


def _score(value: float) -> float:
    score = float(value)
    if not 0 <= score <= 1:
        raise ValueError(f"score {score}")
    return score


class _BoxColumns:
    """Boxes as they come: 24 bytes each, whatever their order."""

    def __init__(self, path: Path, annotations: AnnotationSet) -> None:
        self._path = path
        self._annotations = annotations
        self._position = {int(value): index for index, value in enumerate(annotations.image_id)}
        self._sizes: list[list[int]] = annotations.image_size.tolist()
        self._image = array("i")
        self._box = array("f")
        self._score = array("f")

    def require_image(self, where: str, image_id: int) -> int:
        """The position of the image with this id; ``where`` says where a file names it."""
        if image_id not in self._position:
            raise AnnotationError(
                f"{self._path}: {where}: image {short(image_id)} is not in {self._annotations.path}"
            )
        return self._position[image_id]

    def add(
        self, where: str, image_id: int, box: tuple[float, float, float, float], score: float
    ) -> None:
        """Add a box, xyxy in pixels, clipped to its image."""
        image = self.require_image(where, image_id)
        height, width = self._sizes[image]
        x1, y1, x2, y2 = box
        self._image.append(image)
        self._box.extend(
            (
                min(max(x1, 0), width),
                min(max(y1, 0), height),
                min(max(x2, 0), width),
                min(max(y2, 0), height),
            )
        )
        self._score.append(score)

    def by_image(self) -> list[Proposals]:
        """The boxes that are not empty, an image after another, each in the order they came."""
        owner = np.array(self._image, dtype=np.int32)
        box = np.array(self._box, dtype=np.float32).reshape(-1, 4)
        score = np.array(self._score, dtype=np.float32)
        kept = np.flatnonzero((box[:, 2:] > box[:, :2]).all(axis=1))
        kept = kept[np.argsort(owner[kept], kind="stable")]
        owner, box, score = owner[kept], box[kept], score[kept]
        start = np.searchsorted(owner, np.arange(len(self._annotations) + 1))
        unknown = np.full(len(owner), -1, dtype=np.int64)
        places = [slice(*ends) for ends in pairwise(start)]
        return [Proposals(box[place], score[place], unknown[place]) for place in places]
