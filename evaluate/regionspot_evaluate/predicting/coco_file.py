"""The predictions for several pictures, in COCO's layout."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import msgspec

from regionspot_core.datasets.vocabulary import Vocabulary
from regionspot_core.errors import InputError
from regionspot_core.support.files import written_aside
from regionspot_evaluate.predicting.listing import PictureList
from regionspot_evaluate.predicting.named_regions import NamedRegion, PictureRecord

Records = Callable[[], Iterator[PictureRecord]]
"""Function that goes through the records of all pictures, in their order."""


def write_coco(
    path: Path,
    info: dict[str, Any],
    listed: PictureList,
    vocabulary: Vocabulary,
    records: Records,
) -> None:
    """Write the predictions so that COCO's tools read them as a data set with scores.

    Args:
        path: The JSON file.
        info: Facts about the whole file.
        listed: The pictures.
        vocabulary: The classes.
        records: The pictures' records; gone through three times, so that none is held.
    """
    read = (record for record in records() if record.failed is None)
    images = (_image(record, listed) for record in read)
    failed = (
        {"file_name": listed.pictures[record.position].name, "reason": record.failed}
        for record in records()
        if record.failed is not None
    )
    categories = (
        {"id": number, "name": name}
        for number, name in zip(vocabulary.ids, vocabulary.names, strict=True)
    )
    with written_aside(path) as partial, partial.open("w", encoding="utf-8") as file:
        file.write(f'{{\n"info": {json.dumps(info)}')
        _write_list(file, "images", images)
        _write_list(file, "categories", categories)
        _write_list(file, "annotations", _annotations(records(), vocabulary))
        _write_list(file, "not_read", failed)
        file.write("\n}\n")


def _write_list(file: IO[str], key: str, values: Iterable[dict[str, Any]]) -> None:
    """Write a member whose list has one value a line."""
    file.write(f',\n"{key}": [')
    for number, value in enumerate(values):
        file.write(f"{',' if number else ''}\n{json.dumps(value, allow_nan=False)}")
    file.write("]")


def _image(record: PictureRecord, listed: PictureList) -> dict[str, Any]:
    height, width = record.size
    name = listed.pictures[record.position].name
    return {"id": record.position + 1, "file_name": name, "width": width, "height": height}


def _annotations(
    records: Iterable[PictureRecord], vocabulary: Vocabulary
) -> Iterator[dict[str, Any]]:
    ids = dict(zip(vocabulary.names, vocabulary.ids, strict=True))
    number = 0
    for record in records:
        for region in record.regions:
            number += 1
            yield _annotation(number, record.position + 1, region, ids)


def _annotation(
    number: int, image_id: int, region: NamedRegion, ids: dict[str, int]
) -> dict[str, Any]:
    x1, y1, x2, y2 = region.box
    (name, probability), *_ = region.names
    values: dict[str, Any] = {
        "id": number,
        "image_id": image_id,
        "category_id": ids[name],
        "bbox": [round(value, 3) for value in (x1, y1, x2 - x1, y2 - y1)],
        "area": round((x2 - x1) * (y2 - y1), 3),
        "iscrowd": 0,
        "score": round(probability, 6),
        "names": [[name, round(share, 6)] for name, share in region.names],
        "prompt": region.prompt,
        "predicted_iou": round(region.predicted_iou, 4),
        "none_of_these": region.none_of_these,
    }
    if region.known_score is not None:
        values["known_score"] = round(region.known_score, 4)
    if region.detector_score is not None:
        values["detector_score"] = round(region.detector_score, 6)
    if region.mask is not None:
        values["segmentation"] = region.mask
    return values


class NotRead(msgspec.Struct):
    """A picture that could not be read."""

    file_name: str
    reason: str


class Category(msgspec.Struct):
    """A class."""

    id: int
    name: str


class Annotation(msgspec.Struct):
    """The class of one region."""

    image_id: int
    category_id: int
    none_of_these: bool = False
    """Whether the class is only the nearest one, and does not fit."""


class Predictions(msgspec.Struct):
    """Parts of the file that a summary needs."""

    info: dict[str, Any]
    images: list[dict[str, Any]]
    categories: list[Category]
    annotations: list[Annotation]
    not_read: list[NotRead]


def read_predictions(path: Path) -> Predictions:
    """Read what :func:`write_coco` wrote.

    Raises:
        InputError: If the file is damaged.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Predictions)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors too
        raise InputError(
            f"{path}: it is damaged ({error}); delete it, and the same command names the pictures "
            f"again"
        ) from None
