"""One detection of a results file, and what may be wrong with its form."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from math import isfinite
from typing import Annotated, Any

import msgspec
import numpy as np
from pycocotools import mask as codec

from regionspot_core.datasets.checks import LONGEST_SIDE, short
from regionspot_core.datasets.image_names import ImageNames
from regionspot_core.datasets.masks import encode_runs
from regionspot_core.datasets.truth import Truth
from regionspot_evaluate.scoring.figures import Iou

Id = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Box = tuple[float, float, float, float]


class Rle(msgspec.Struct, gc=False):
    """Compressed run lengths."""

    size: tuple[Id, Id]
    """Height, width."""
    counts: str


class Boxed(msgspec.Struct, gc=False):
    """A detection that is scored by its box."""

    image_id: Id
    category_id: Id
    score: float
    bbox: Box
    """x, y, width, height, original pixels."""


class BoxOnly(msgspec.Struct, gc=False):
    """A box that a detector proposes, whatever its class."""

    image_id: Id
    score: float
    bbox: Box
    """x, y, width, height, original pixels."""


class Masked(msgspec.Struct, gc=False):
    """A detection that is scored by its mask, or by both."""

    image_id: Id
    category_id: Id
    score: float
    segmentation: Rle
    bbox: Box | None = None


Entry = Boxed | Masked


def as_json(entry: Entry) -> dict[str, Any]:
    """Return a detection as the scorers' packages read it from JSON."""
    values: dict[str, Any] = {
        "image_id": entry.image_id,
        "category_id": entry.category_id,
        "score": entry.score,
    }
    if entry.bbox is not None:
        x, y, width, height = entry.bbox
        values["bbox"] = [x, y, max(width, 0.0), max(height, 0.0)]  # rounding's below zero
    if isinstance(entry, Masked):
        mask = entry.segmentation
        values["segmentation"] = {"size": list(mask.size), "counts": mask.counts}
    return values


class FormProblem(Exception):  # noqa: N818 - it never leaves the reader
    """A detection that is not of the form; its kind, as it is counted, and what is wrong."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


def wanted_keys(ious: Sequence[Iou]) -> tuple[str, ...]:
    """Return the keys that every detection must have."""
    box = ("bbox",) if "bbox" in ious else ()
    mask = ("segmentation",) if "segm" in ious else ()
    return ("image_id", "category_id", *box, "score", *mask)


def parse_entry(entry: object, ious: Sequence[Iou], truth: Truth) -> Entry:
    """Return a detection of any form that is scored.

    Ids may be written as ``1.0``, images be named by their files, masks be polygons.

    Raises:
        FormProblem: It has none of these forms.
    """
    entry = _require_keys(entry, wanted_keys(ious))
    image_id = image_of(entry["image_id"], truth.image_names)
    category_id = _whole("category_id", entry["category_id"])
    score = _number("a score", entry["score"])
    box = _box(entry["bbox"]) if "bbox" in entry else None
    if "segm" not in ious:
        assert box is not None
        return Boxed(image_id, category_id, score, box)
    return Masked(image_id, category_id, score, _rle(entry["segmentation"], image_id, truth), box)


def parse_box(entry: object, images: ImageNames) -> BoxOnly:
    """Return an entry as a box without a class, read as :func:`parse_entry` reads it.

    Raises:
        FormProblem: If it has no such form.
    """
    entry = _require_keys(entry, ("image_id", "bbox", "score"))
    image_id = image_of(entry["image_id"], images)
    return BoxOnly(image_id, _number("a score", entry["score"]), _box(entry["bbox"]))


def image_of(value: object, images: ImageNames) -> int:
    """Return the id of an image that an entry gives as a whole number, or by its file's name.

    Raises:
        FormProblem: If it is no number, and none or several of the images' names.
    """
    if not isinstance(value, str):
        return _whole("image_id", value)
    found = images.find(value)
    if found is None:
        raise FormProblem(
            "whose image_id is no whole number, nor the name of one image's file",
            f"expected as image_id a whole number, or the name of one of the annotations' images; "
            f"got {short(value)}",
        )
    return found


def _require_keys(entry: object, keys: Sequence[str]) -> dict[str, Any]:
    if not isinstance(entry, dict) or not all(key in entry for key in keys):
        raise FormProblem("without a key", f"expected an object with {', '.join(keys)}")
    return entry


def _whole(key: str, value: object) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 2**63:
        raise FormProblem(
            f"whose {key} is no whole number",
            f"expected a whole number as {key}, got {short(value)}",
        )
    return value


def _number(what: str, value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise FormProblem(
            "with something else for a number", f"expected {what}: a number, got {short(value)}"
        )
    try:
        number = float(value)
    except OverflowError:
        number = float("inf")
    if not isfinite(number):
        raise FormProblem("with NaN or infinity", f"expected {what}: a finite number, got {number}")
    return number


def _box(value: object) -> Box:
    if not isinstance(value, list) or len(value) != 4:
        raise FormProblem(
            "whose bbox is not four numbers",
            f"expected x, y, width, height as bbox, got {short(value)}",
        )
    x, y, width, height = (_number("x, y, width, height of bbox", each) for each in value)
    return x, y, width, height


def _rle(value: Any, image_id: int, truth: Truth) -> Rle:  # noqa: ANN401 - any JSON value
    try:
        if isinstance(value, list):
            return _drawn(value, image_id, truth)
        height, width = (_whole("size", side) for side in value["size"])
        counts = value["counts"]
        if isinstance(counts, list):
            runs = array("q", counts)
            if min(runs) < 0 or sum(runs) != height * width:
                raise ValueError
            counts = encode_runs(height, width, runs).decode("ascii")
        if not isinstance(counts, str):
            raise TypeError
        return Rle((height, width), counts)
    except (KeyError, TypeError, ValueError, OverflowError, FormProblem):
        raise FormProblem(
            "whose segmentation is no mask",
            f"expected an RLE or polygons as segmentation, got {short(value)}",
        ) from None


def _drawn(rings: list[Any], image_id: int, truth: Truth) -> Rle:
    place = int(np.searchsorted(truth.image_id, image_id))
    if place == len(truth.image_id) or truth.image_id[place] != image_id:
        return Rle((0, 0), "")  # its image is found to be unknown
    height, width = truth.image_size[place].tolist()
    for ring in rings:
        if len(ring) < 6 or len(ring) % 2 or not all(abs(value) <= LONGEST_SIDE for value in ring):
            raise ValueError
    if not rings:
        raise ValueError
    mask = codec.merge(codec.frPyObjects(rings, height, width))
    return Rle((height, width), mask["counts"].decode("ascii"))
