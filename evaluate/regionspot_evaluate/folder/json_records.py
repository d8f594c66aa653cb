"""Records that an evaluation leaves beside its detections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from regionspot_core.errors import InputError
from regionspot_core.support.records import read_json_object


def read_json_record(path: Path) -> dict[str, Any]:
    """Read the JSON object that an evaluation wrote.

    Raises:
        InputError: If the file is missing, or is no small file with such an object.
    """
    try:
        return read_json_object(path)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            f"{path}: expected a JSON file that an evaluation wrote, got no file"
        ) from None
