"""JSON files that anybody may have written: read without trust, then checked by a type.

A reader names what it expects as a subclass of :class:`Record`, or as a type for
:func:`validated`, and takes every value from that. A checksum shows that a file is what somebody
wrote, not that this project wrote it: nothing is allocated, indexed or opened by a number or a name
that has not been through one of these types.
"""

from __future__ import annotations

import errno
import json
import os
import reprlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import from_json

from regionspot_core.errors import InputError, RegionSpotError
from regionspot_core.support.input_files import open_input

MOST_BYTES = 64 * 1024**2
"""Largest size of a file that is read whole; none of ours comes near it."""
DEEPEST = 100
"""Most levels of nesting; deeper values would end a program that walks through them."""
LARGEST = 2**53
"""Largest whole number that every reader of JSON keeps exactly."""
LONGEST_AXIS = 2**20
"""Longest axis of one image's or region's tokens: a thousand times what models have."""
_WIDEST = 2**63
"""Bound of integers: the widest that PyTorch and NumPy take."""
_LONGEST_SHOWN = 120
"""Most characters of a value or a key in a message."""

Count = Annotated[int, Field(strict=True, ge=0, le=LARGEST)]
Length = Annotated[int, Field(strict=True, ge=1, le=LARGEST)]
Axis = Annotated[int, Field(strict=True, ge=1, le=LONGEST_AXIS)]
LengthOrNone = Annotated[int, Field(strict=True, ge=0, le=LONGEST_AXIS)]
"""Length of an axis; 0 for an array that is not there."""
Int64 = Annotated[int, Field(strict=True, ge=-(2**63), lt=2**63)]
Xxh3 = Annotated[str, Field(pattern=r"\A[0-9a-f]{16}\z")]
Crc32c = Annotated[str, Field(pattern=r"\A[0-9a-f]{8}\z")]
Crc32cs = Annotated[str, Field(pattern=r"\A([0-9a-f]{8})*\z")]
"""CRC-32Cs one behind the other."""

KNOWN_KEYS_ONLY = ConfigDict(extra="forbid")
"""A dataclass's ``__pydantic_config__``: keys that it does not name are errors."""

Kind = TypeVar("Kind")


class Record(BaseModel):
    """Base of the content of a small file. Keys that a model does not name are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def parse(
        cls, values: object, *, source: str, error: type[RegionSpotError] = InputError
    ) -> Self:
        """Build from plain values.

        Args:
            values: Content of a file or an option.
            source: Name of the file or option, for the message.
            error: Type of the exception to raise.

        Raises:
            RegionSpotError: ``error``, if a value is not allowed; the message names the first.
        """
        _require_64_bits(values, source, error)
        try:
            return cls.model_validate(values)
        except ValidationError as problem:
            raise error(f"{source}: {_first_problem(problem, cls)}") from None


def validated(kind: type[Kind], values: object, error: Callable[[str], Exception]) -> Kind:
    """Build a value of a type from plain values, each of which the type checks.

    Args:
        kind: A pydantic model, or a dataclass whose fields are annotated as a model's.
        values: Content of a file.
        error: Makes the exception to raise from the text of the first problem.

    Raises:
        Exception: If a value is not allowed, as ``error`` makes it.
    """
    try:
        built: Kind = _adapter(kind).validate_python(values)  # type: ignore[arg-type]  # hashable
    except ValidationError as problem:
        raise error(_first_problem(problem)) from None
    return built


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:  # noqa: ANN401 - any type
    return TypeAdapter(kind)


def read_json_object(
    path: Path, *, error: type[RegionSpotError] = InputError, most_bytes: int = MOST_BYTES
) -> dict[str, Any]:
    """Read the object in a JSON file, at most ``DEEPEST`` levels deep.

    Args:
        path: The file.
        error: Type of the exception to raise if it holds anything else.
        most_bytes: Size of the largest file that is read.

    Raises:
        FileNotFoundError: If there is no such file.
        NotADirectoryError: If a folder on the way to it is a file.
        RegionSpotError: ``error``, if it cannot be read or is not such an object.
    """
    return json_object(read_small(path, error=error, most_bytes=most_bytes), str(path), error=error)


def json_object(
    content: bytes, source: str, *, error: type[RegionSpotError] = InputError
) -> dict[str, Any]:
    """Parse the object in a JSON file's content, at most ``DEEPEST`` levels deep.

    Raises:
        RegionSpotError: ``error``, which names ``source``, if it is not such an object.
    """
    try:
        values = json.loads(content.decode("utf-8-sig"))
    except RecursionError:
        raise error(f"{source}: cannot be read as JSON (nested too deep)") from None
    except ValueError as problem:
        raise error(f"{source}: cannot be read as JSON ({problem})") from None
    if not isinstance(values, dict):
        kind = "a list" if isinstance(values, list) else "a single value"
        raise error(f"{source}: expected a JSON object, got {kind}")
    if _depth(values) > DEEPEST:
        raise error(f"{source}: expected JSON of at most {DEEPEST} levels, got more")
    return values


def parse_object(content: bytes) -> dict[str, Any]:
    """Parse the JSON object of a store's file. It is faster, and refuses half characters.

    Raises:
        ValueError: If the content is not JSON, is nested more than 200 deep, or is no object.
    """
    values = from_json(content, allow_inf_nan=False)
    if not isinstance(values, dict):
        raise ValueError(f"expected a JSON object, got {shown(values)}")
    return values


def read_small(
    path: Path, *, error: type[RegionSpotError] = InputError, most_bytes: int = MOST_BYTES
) -> bytes:
    """Read a regular file of bounded size.

    Raises:
        FileNotFoundError: If there is no such file.
        NotADirectoryError: If a folder on the way to it is a file.
        RegionSpotError: ``error``, if it is not a regular file, is larger than ``most_bytes``, or
            cannot be read.
    """
    try:
        with open_input(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > most_bytes:
                raise error(
                    f"{path}: expected at most {most_bytes:,} bytes, got {size:,}; this is "
                    f"another file"
                )
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as problem:
        wrong_kind = problem.errno in (errno.EISDIR, errno.EINVAL)
        reason = problem.strerror if wrong_kind else f"cannot be read ({problem.strerror})"
        raise error(f"{path}: {reason}") from None


class _ShortRepr(reprlib.Repr):
    """Short text of any value, of numbers that Python refuses to print as well."""

    def repr_int(self, value: int, level: int) -> str:
        if value.bit_length() > 256:
            return f"a number of {value.bit_length()} bits"
        return super().repr_int(value, level)


_SHORT = _ShortRepr()
_SHORT.maxstring = _SHORT.maxother = _LONGEST_SHOWN
_SHORT.maxlevel = 3


def shown(value: object) -> str:
    """Return a value as messages quote it: short, however long or deep it is."""
    return _SHORT.repr(value)


def _depth(value: object) -> int:
    """Return how many containers lie in each other, counted to one more than is allowed."""
    level, depth = [value], 0
    while depth <= DEEPEST:
        level = [
            each
            for container in level
            if isinstance(container, dict | list)
            for each in (container.values() if isinstance(container, dict) else container)
        ]
        if not level:
            break
        depth += 1
    return depth


def _require_64_bits(values: object, source: str, error: type[RegionSpotError]) -> None:
    """Refuse integers that no part of the project could compute with."""
    left = [("", values)]
    while left:
        key, value = left.pop()
        if isinstance(value, dict):
            left += [(f"{key}.{name}" if key else str(name), each) for name, each in value.items()]
        elif isinstance(value, list | tuple):
            left += [(key, each) for each in value]
        elif isinstance(value, int) and not -_WIDEST <= value < _WIDEST:
            raise error(f"{source}: {key}: expected a number below 2^63, got a larger one")


def _first_problem(error: ValidationError, model: type[BaseModel] | None = None) -> str:
    """Return the first wrong key, what was expected and what came, and how many more are wrong."""
    problem = error.errors(include_url=False)[0]
    key = ".".join(str(part)[:_LONGEST_SHOWN] for part in problem["loc"])
    place = f"{key}: " if key else ""
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if problem["type"] == "extra_forbidden" and model is not None:
        known = ", ".join(_known_keys(model, problem["loc"][:-1]))
        return f"unknown key {key!r}; expected one of {known}{more}"
    if problem["type"] == "missing":
        return f"{key}: required, but not given{more}"
    if problem["type"] == "value_error":  # a check of ours, which says what came
        return f"{place}{problem['ctx']['error']}{more}"
    message = problem["msg"][:1].lower() + problem["msg"][1:]
    return f"{place}{message}, got {shown(problem['input'])}{more}"


def _known_keys(config: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    fields = config.model_fields
    for part in path:
        annotation = fields[str(part)].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            break
        fields = annotation.model_fields
    return sorted(fields)
