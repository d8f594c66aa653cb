"""Pictures that nothing depends on: one that cannot be made is said, and the work goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from regionspot_core.support.error_text import DISK_FAULTS, one_line
from regionspot_core.support.progress import say


@contextmanager
def optional_picture(path: Path) -> Iterator[None]:
    """Go on where the picture that is made inside cannot be made, with one line that says why.

    Raises:
        OSError: If the disk is full or faulty: mended, the same command then makes the picture too.
    """
    try:
        yield
    except Exception as error:  # whatever a drawing package or a font raises
        if isinstance(error, OSError) and error.errno in DISK_FAULTS:
            raise
        why = (error.strerror if isinstance(error, OSError) else None) or one_line(error)
        say(f"{path}: the picture could not be made ({why}); all else is done")
