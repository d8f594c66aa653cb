"""Parts of an entry of a detector's file, and what may be wrong with their form."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Annotated, Any

import msgspec

from regionspot_core.datasets.image_names import ImageNames
from regionspot_core.support.records import shown

Id = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Box = tuple[float, float, float, float]


class FormProblem(Exception):  # noqa: N818 - it never leaves the reader
    """A detection that is not of the form; its kind, as it is counted, and what is wrong."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


def require_keys(entry: object, keys: Sequence[str]) -> dict[str, Any]:
    """Return an entry that is an object with all keys.

    Raises:
        FormProblem: If it is anything else.
    """
    if not isinstance(entry, dict) or not all(key in entry for key in keys):
        raise FormProblem("without a key", f"expected an object with {', '.join(keys)}")
    return entry


def parse_image(value: object, images: ImageNames) -> int:
    """Return the id of an image that an entry gives as a whole number, or by its file's name.

    Raises:
        FormProblem: If it is no number, and none or several of the images' names.
    """
    if not isinstance(value, str):
        return parse_whole("image_id", value)
    found = images.find(value)
    if found is None:
        raise FormProblem(
            "whose image_id is no whole number, nor the name of one image's file",
            f"expected as image_id a whole number, or the name of one of the annotations' images; "
            f"got {shown(value)}",
        )
    return found


def parse_whole(key: str, value: object) -> int:
    """Return a whole number of 64 bits, which may be written as ``1.0``.

    Raises:
        FormProblem: If it is anything else.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 2**63:
        raise FormProblem(
            f"whose {key} is no whole number",
            f"expected a whole number as {key}, got {shown(value)}",
        )
    return value


def parse_number(what: str, value: object) -> float:
    """Return a finite number.

    Raises:
        FormProblem: If it is anything else.
    """
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise FormProblem(
            "with something else for a number", f"expected {what}: a number, got {shown(value)}"
        )
    try:
        number = float(value)
    except OverflowError:
        number = float("inf")
    if not isfinite(number):
        raise FormProblem("with NaN or infinity", f"expected {what}: a finite number, got {number}")
    return number


def parse_box(value: object) -> Box:
    """Return x, y, width, height.

    Raises:
        FormProblem: If it is not four finite numbers.
    """
    if not isinstance(value, list) or len(value) != 4:
        raise FormProblem(
            "whose bbox is not four numbers",
            f"expected x, y, width, height as bbox, got {shown(value)}",
        )
    x, y, width, height = (parse_number("x, y, width, height of bbox", each) for each in value)
    return x, y, width, height
