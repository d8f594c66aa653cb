"""Where a benchmark generates its stores."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from regionspot_core.errors import InputError


@contextmanager
def workplace(parent: Path | None) -> Iterator[Path]:
    """A new folder in ``parent``, or where the system has temporary files; removed at the end.

    Raises:
        InputError: ``parent`` is no folder to write in.
    """
    if parent is not None and not (parent.is_dir() and os.access(parent, os.W_OK)):
        found = "one without that permission" if parent.is_dir() else "a file"
        raise InputError(
            f"--dir {parent}: expected an existing folder with permission to write, "
            f"got {found if parent.exists() else 'nothing'}"
        )
    with tempfile.TemporaryDirectory(prefix="regionspot-bench-", dir=parent) as folder:
        yield Path(folder)
