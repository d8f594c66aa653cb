"""Small JSON files that anybody may have written: read without trust, then checked by a model.

A reader names what it expects as a subclass of :class:`Record` and takes every value from that.
"""

from __future__ import annotations

import json
import reprlib
import stat
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from regionspot_core.errors import InputError, RegionSpotError

MOST_BYTES = 64 * 1024**2
"""Of a file that is read whole; none of ours comes near it."""
DEEPEST = 100
"""Levels of nesting; deeper values would end whoever walks through them."""
_WIDEST = 2**63
"""What integers stay below: the widest that PyTorch and NumPy take."""
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 120
_SHORT.maxlevel = 3


class Record(BaseModel):
    """Base of what a small file holds. Keys that a model does not name are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def parse(
        cls, values: object, *, source: str, error: type[RegionSpotError] = InputError
    ) -> Self:
        """Build from plain values.

        Args:
            values: What was read.
            source: Where it comes from, for the message.
            error: What is raised.

        Raises:
            RegionSpotError: ``error``, with the first key whose value is not allowed.
        """
        _require_64_bits(values, source, error)
        try:
            return cls.model_validate(values)
        except ValidationError as problem:
            raise error(_first_problem(cls, problem, source)) from None


def read_json_object(
    path: Path, *, error: type[RegionSpotError] = InputError, most_bytes: int = MOST_BYTES
) -> dict[str, Any]:
    """Read the object in a JSON file, at most ``DEEPEST`` levels deep.

    Args:
        path: The file.
        error: What is raised where it holds anything else.
        most_bytes: Size of the largest file that is read.

    Raises:
        FileNotFoundError: There is no such file.
        NotADirectoryError: A folder on the way to it is a file.
        RegionSpotError: ``error``, where it cannot be read or is not such an object.
    """
    return json_object(read_small(path, error=error, most_bytes=most_bytes), str(path), error=error)


def json_object(
    content: bytes, source: str, *, error: type[RegionSpotError] = InputError
) -> dict[str, Any]:
    """Parse the object in a JSON file's content, at most ``DEEPEST`` levels deep.

    Raises:
        RegionSpotError: ``error``, which names ``source``, where it is not such an object.
    """
    try:
        values = json.loads(content.decode("utf-8"))
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


def read_small(
    path: Path, *, error: type[RegionSpotError] = InputError, most_bytes: int = MOST_BYTES
) -> bytes:
    """Read a regular file of bounded size.

    Raises:
        FileNotFoundError: There is no such file.
        NotADirectoryError: A folder on the way to it is a file.
        RegionSpotError: ``error``, where it is a folder, a pipe or a device, which could be waited
            for without end; is larger than ``most_bytes``; or cannot be read.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            kind = "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe or a device"
            raise error(f"{path}: expected a file, got {kind}")
        if found.st_size > most_bytes:
            raise error(
                f"{path}: expected at most {most_bytes:,} bytes, got {found.st_size:,}; this is "
                f"another file"
            )
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as problem:
        raise error(f"{path}: cannot be read ({problem.strerror or problem})") from None


def shown(value: object) -> str:
    """Return a value as messages quote it: short, however long or deep it is."""
    return _SHORT.repr(value)


def _depth(value: object) -> int:
    """How many containers lie in each other, counted to one more than is allowed."""
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


def _first_problem(config: type[BaseModel], error: ValidationError, source: str) -> str:
    problem = error.errors()[0]
    key = ".".join(str(part) for part in problem["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if problem["type"] == "extra_forbidden":
        known = ", ".join(_known_keys(config, problem["loc"][:-1]))
        return f"{source}: unknown key {key!r}; expected one of {known}{more}"
    if problem["type"] == "missing":
        return f"{source}: {key}: required, but not given{more}"
    if problem["type"] == "value_error":  # a check of ours, which says what came
        return f"{source}: {key + ': ' if key else ''}{problem['ctx']['error']}{more}"
    message = problem["msg"][:1].lower() + problem["msg"][1:]
    return f"{source}: {key + ': ' if key else ''}{message}, got {shown(problem['input'])}{more}"


def _known_keys(config: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    fields = config.model_fields
    for part in path:
        annotation = fields[str(part)].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            break
        fields = annotation.model_fields
    return sorted(fields)
