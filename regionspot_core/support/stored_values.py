"""Types of the values in our JSON files: each is checked here before anything follows it.

A file's checksum tells that it is what somebody wrote, not that it was this project. So nothing is
allocated, indexed or opened by a number or a name that has not been through one of these types.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Annotated, Any, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import from_json

LARGEST = 2**53
"""Behind this, readers of JSON round whole numbers."""
LONGEST_AXIS = 2**20
"""Of one image's or region's tokens: a thousand times what models have."""
SHOWN = 60
"""Characters of a wrong value in a message."""

Count = Annotated[int, Field(strict=True, ge=0, le=LARGEST)]
Length = Annotated[int, Field(strict=True, ge=1, le=LARGEST)]
Axis = Annotated[int, Field(strict=True, ge=1, le=LONGEST_AXIS)]
Int64 = Annotated[int, Field(strict=True, ge=-(2**63), lt=2**63)]
Xxh3 = Annotated[str, Field(pattern=r"\A[0-9a-f]{16}\z")]
Crc32c = Annotated[str, Field(pattern=r"\A[0-9a-f]{8}\z")]
Crc32cs = Annotated[str, Field(pattern=r"\A([0-9a-f]{8})*\z")]
"""CRC-32Cs one behind the other."""

KNOWN_KEYS_ONLY = ConfigDict(extra="forbid")
"""A dataclass's ``__pydantic_config__``, for which a key that it does not know is an error."""

Kind = TypeVar("Kind")


def parse_object(content: bytes) -> dict[str, Any]:
    """Parse a JSON file that holds an object.

    Raises:
        ValueError: It is not JSON, is nested more than 200 deep, or holds something else.
    """
    values = from_json(content, allow_inf_nan=False)
    if not isinstance(values, dict):
        raise ValueError(f"expected a JSON object, got {_shown(values)}")
    return values


def validated(kind: type[Kind], values: object, error: Callable[[str], Exception]) -> Kind:
    """Build a type that says what it may hold from plain values.

    Args:
        kind: A pydantic model, or a dataclass whose fields are annotated as one's.
        values: What a file holds.
        error: Makes the exception to raise from what is wrong.
    """
    try:
        built: Kind = _adapter(kind).validate_python(values)  # type: ignore[arg-type]  # hashable
    except ValidationError as wrong:
        raise error(_first_problem(wrong)) from None
    return built


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:  # noqa: ANN401 - any type
    return TypeAdapter(kind)


def _first_problem(error: ValidationError) -> str:
    """Where the first wrong value is, what was expected and what came."""
    problem = error.errors(include_url=False)[0]
    place = ".".join(str(part)[:SHOWN] for part in problem["loc"])
    message = problem["msg"][:1].lower() + problem["msg"][1:]
    came = "" if problem["type"] == "missing" else f", got {_shown(problem['input'])}"
    return f"{place + ': ' if place else ''}{message}{came}"


def _shown(value: object) -> str:
    if isinstance(value, int) and value.bit_length() > 256:  # Python refuses to print the longest
        return f"a number of {value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
