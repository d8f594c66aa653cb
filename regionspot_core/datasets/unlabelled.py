"""Regions without classes: a detector's boxes, or SAM's own, of images without annotations."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from math import isfinite, nan
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, NoReturn

import msgspec
import numpy as np
from numpy.typing import NDArray

from regionspot_core.datasets.builder import AnnotationBuilder
from regionspot_core.datasets.checks import number_in, open_annotations, short
from regionspot_core.datasets.image_names import ImageNames
from regionspot_core.datasets.json_stream import JsonStream
from regionspot_core.datasets.record import AnnotationSet
from regionspot_core.datasets.vocabulary import Vocabulary, is_text
from regionspot_core.errors import AnnotationError, InputError
from regionspot_core.imaging.sources import ImageSource

REGION = "region"
"""Name of the one class that a vocabulary must have where there are none."""
NOT_THERE = "images not there"
EXPECTED = (
    "a detector's boxes: COCO results, [{image_id, bbox, score}, …], or {image_id: {boxes, scores}}"
)


_Box = tuple[float, float, float, float]


class ImageList(NamedTuple):
    """The images of a place, each with a number of its own."""

    files: tuple[str, ...]
    """Sorted."""
    ids: NDArray[np.int64]
    """The number that a file's name is, as COCO's ids are; the file's place, counted from 1, where
    a name is no number or two are the same."""
    are_numbers: bool
    """Whether ids are numbers that names are."""


def list_images(images: ImageSource) -> ImageList:
    """List the images of a place.

    Raises:
        InputError: If there is none, or the name of one is not UTF-8.
    """
    files = tuple(images.names())
    if not files:
        raise InputError(f"--images {images.location}: expected images, found none")
    odd = next((name for name in files if not is_text(name)), None)
    if odd is not None:
        raise InputError(
            f"--images {images.location}: expected file names in UTF-8, got {odd!r}; rename it"
        )
    numbers = [number_in(PurePosixPath(name).stem) for name in files]
    if None not in numbers and len(set(numbers)) == len(numbers):
        return ImageList(files, np.array(numbers, dtype=np.int64), True)
    return ImageList(files, np.arange(1, len(files) + 1), False)


def read_unlabelled(path: Path, images: ImageSource) -> AnnotationSet:
    """Read boxes as regions without classes; sizes come from the images' headers.

    The images are those that the file names, by number or by file (see :class:`ImageNames`). A
    region's annotation id is its box's place in the file, counted from 1.

    Args:
        path: COCO results, or boxes (xyxy) by image: ``{image_id: {"boxes": …, "scores": …}}``.
        images: The images.

    Raises:
        AnnotationError: If the file is missing or malformed, or none of its images is there.
        InputError: If there is no image, or the name of one is not UTF-8.
    """
    listed = list_images(images)
    boxes = _BoxFile(path, listed)
    with open_annotations(path) as file:
        digest = boxes.read(JsonStream(file, path, expected=EXPECTED))
    used = [place for place in range(len(listed.files)) if int(listed.ids[place]) in boxes.images]
    if not used:
        named = f" (first: {boxes.first_absent})" if boxes.absent else ""
        raise AnnotationError(
            f"{path}: none of the images that it has boxes of is in {images.location}{named}"
        )
    for place in used:
        boxes.builder.add_image(int(listed.ids[place]), file=listed.files[place])
    sizes = boxes.builder.read_sizes(images)
    ids = listed.ids[used].tobytes() + "\0".join(listed.files[place] for place in used).encode()
    sha256 = hashlib.sha256(digest.encode() + ids + sizes).hexdigest()
    found = boxes.builder.build(Vocabulary.from_names([REGION]), sha256).regions()
    dropped = found.dropped | ({NOT_THERE: boxes.absent} if boxes.absent else {})
    return replace(
        found, class_index=np.full_like(found.class_index, -1), labelled=False, dropped=dropped
    )


class _BoxFile:
    """Boxes as they come from a file."""

    def __init__(self, path: Path, listed: ImageList) -> None:
        self.builder = AnnotationBuilder(path)
        self.images: set[int] = set()
        """Ids of the images that the file names and that are there."""
        self.absent = 0
        """Number of boxes of images that are not there."""
        self.first_absent = ""
        self._path = path
        self._names = ImageNames(listed.ids, listed.files)
        # Without numbers in names, ids are ours: a number in a file is of other images.
        self._ids = frozenset(listed.ids.tolist() if listed.are_numbers else ())
        self._seen = 0

    def read(self, stream: JsonStream) -> str:
        """Read all boxes, and return the SHA-256 of the file."""
        entries = self._by_image(stream) if stream.opening() == "{" else self._results(stream)
        for image, box in entries:
            self._seen += 1
            if image is None:
                continue
            self.builder.add_region(self._seen, image=image, class_id=1, crowd=False, box=box)
        return stream.finish()

    def _results(self, stream: JsonStream) -> Iterator[tuple[int | None, _Box]]:
        for entry in stream.elements():
            if not isinstance(entry, dict) or not {"image_id", "bbox"} <= entry.keys():
                self._refuse(f"expected image_id and bbox, got {short(entry)}")
            x, y, width, height = self._box(entry["bbox"])
            yield self._image(entry["image_id"], 1), (x, y, width, height)

    def _by_image(self, stream: JsonStream) -> Iterator[tuple[int | None, _Box]]:
        for key in stream.members():
            if key in ("images", "annotations"):
                raise AnnotationError(
                    f"{self._path}: expected {EXPECTED}, got an annotation file; give it as "
                    f"--annotations"
                )
            entry = stream.value()
            if not isinstance(entry, dict) or not isinstance(entry.get("boxes"), list):
                self._refuse(f"expected the boxes of image {key[:40]!r}, got {short(entry)}")
            image = self._image(key, len(entry["boxes"]))
            for corners in entry["boxes"]:
                x1, y1, x2, y2 = self._box(corners)
                yield image, (x1, y1, x2 - x1, y2 - y1)

    def _image(self, value: Any, boxes: int) -> int | None:  # noqa: ANN401 - any JSON value
        """Return the id of the image that is meant; None, after counting, if it is not there."""
        found = self._names.find(value) if isinstance(value, str) else None
        if found is None:
            number = number_in(value) if isinstance(value, str) else value
            is_id = isinstance(number, int) and not isinstance(number, bool)
            found = number if is_id and number in self._ids else None
        if found is None:
            self.first_absent = self.first_absent or short(value)
            self.absent += boxes
        else:
            self.images.add(found)
        return found

    def _box(self, value: object) -> _Box:
        try:
            box: _Box = msgspec.convert(value, _Box)
        except (ValueError, OverflowError):  # msgspec's are ValueErrors
            box = (nan, nan, nan, nan)
        if not all(map(isfinite, box)):
            self._refuse(f"expected a box of four numbers, got {short(value)}")
        return box

    def _refuse(self, problem: str) -> NoReturn:
        raise AnnotationError(f"{self._path}: box {self._seen + 1:,}: {problem}")
