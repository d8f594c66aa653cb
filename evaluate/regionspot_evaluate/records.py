"""Records that an evaluation leaves beside its detections, read as untrusted files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from regionspot_core.datasets.checks import short
from regionspot_core.errors import InputError

DEEPEST = 16
"""Objects and lists inside each other; those that we write have five."""
LARGEST_BYTES = 64 * 1024**2


def read_json_record(path: Path) -> dict[str, Any]:
    """Read a JSON object from a small file.

    Raises:
        InputError: The file is missing, no regular file, too large, no JSON object, or nests
            too deeply.
    """
    try:
        if not path.is_file():
            raise InputError(f"{path}: expected a JSON file that an evaluation wrote, got no file")
        if path.stat().st_size > LARGEST_BYTES:
            raise InputError(f"{path}: expected a record of an evaluation, got a huge file")
        found = json.loads(path.read_bytes())
        if not isinstance(found, dict):
            raise InputError(
                f"{path}: expected an object, as an evaluation wrote it, got {short(found)}"
            )
        _require_shallow(found, DEEPEST)
    except InputError:
        raise
    except RecursionError:
        raise InputError(
            f"{path}: expected a record of an evaluation; it nests too deeply"
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: expected the JSON that an evaluation wrote ({_reason(error)})"
        ) from None
    return found


def _require_shallow(value: object, left: int) -> None:
    children = value.values() if isinstance(value, dict) else value
    if isinstance(children, str) or not hasattr(children, "__iter__"):
        return
    if not left:
        raise RecursionError
    for child in children:
        _require_shallow(child, left - 1)


def _reason(error: OSError | ValueError) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
