"""What is said where a run's folder cannot be written: a full disk, one that is lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from regionspot_core.errors import CheckpointError


@contextmanager
def disk_errors_said(folder: Path, *, after: BaseException | None = None) -> Iterator[None]:
    """Have the system's errors of what is written here as one sentence that says what to do.

    Args:
        folder: The run's.
        after: An error that has ended the run already; of the disk's nothing is said then.

    Raises:
        CheckpointError: The system refused to write.
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
