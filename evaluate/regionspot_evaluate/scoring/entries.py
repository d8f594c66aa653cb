"""One detection of a results file, and what may be wrong with its form."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from pycocotools import mask as codec

from regionspot_core.datasets.checks import LONGEST_SIDE
from regionspot_core.datasets.detections.entries import (
    Box,
    FormProblem,
    Id,
    parse_box,
    parse_image,
    parse_number,
    parse_whole,
    require_keys,
)
from regionspot_core.datasets.masks import encode_runs
from regionspot_core.datasets.truth import Truth
from regionspot_core.support.records import shown
from regionspot_evaluate.scoring.figures import Iou


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
    entry = require_keys(entry, wanted_keys(ious))
    image_id = parse_image(entry["image_id"], truth.image_names)
    category_id = parse_whole("category_id", entry["category_id"])
    score = parse_number("a score", entry["score"])
    box = parse_box(entry["bbox"]) if "bbox" in entry else None
    if "segm" not in ious:
        assert box is not None
        return Boxed(image_id, category_id, score, box)
    return Masked(image_id, category_id, score, _rle(entry["segmentation"], image_id, truth), box)


def _rle(value: Any, image_id: int, truth: Truth) -> Rle:  # noqa: ANN401 - any JSON value
    try:
        if isinstance(value, list):
            return _drawn(value, image_id, truth)
        height, width = (parse_whole("size", side) for side in value["size"])
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
            f"expected an RLE or polygons as segmentation, got {shown(value)}",
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
