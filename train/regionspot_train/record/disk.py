"""Errors of the disk that a run's folder lies on, as one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from regionspot_core.errors import CheckpointError


@contextmanager
def explained_disk_errors(folder: Path, *, after: BaseException | None = None) -> Iterator[None]:
    """Raise the system's errors of writing as one sentence that says what to do.

    Args:
        folder: Folder of the run.
        after: Error that has ended the run already; errors of the disk are then swallowed.

    Raises:
        CheckpointError: If the system refuses to write.
    """
    try:
        yield
    except OSError as error:
        if after is None:
            raise CheckpointError(
                f"{folder}: the run cannot be written ({error.strerror or error}); what is there "
                f"is whole: see to the disk, and the same command with --resume goes on from the "
                f"last checkpoint"
            ) from error
