"""Where a benchmark generates its stores."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from regionspot_core.errors import InputError
from regionspot_core.support.files import require_place_for_file


def require_places(parent: Path | None, json_file: Path | None) -> None:
    """Refuse a folder that nothing can be generated in, or a place where no file can be written.

    Raises:
        InputError: If one is given that is so.
    """
    if json_file is not None:
        require_place_for_file(json_file, option="--json")
    if parent is not None and not (parent.is_dir() and os.access(parent, os.W_OK)):
        problem = "one without that permission" if parent.is_dir() else "a file"
        raise InputError(
            f"--dir {parent}: expected an existing folder with permission to write, "
            f"got {problem if parent.exists() else 'nothing'}"
        )


@contextmanager
def workplace(parent: Path | None) -> Iterator[Path]:
    """Make a new folder in ``parent``, or where the system has temporary files; remove it after."""
    with tempfile.TemporaryDirectory(prefix="regionspot-bench-", dir=parent) as folder:
        yield Path(folder)
