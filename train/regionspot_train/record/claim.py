"""The right of one process at a time to write into a run's or a sweep's folder."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import Timeout

from regionspot_core.errors import CheckpointError
from regionspot_core.heads.checkpoint import RECORD
from regionspot_core.support.files import require_empty_folder, require_folder_or_nothing
from regionspot_core.support.locks import HeldLock, wait_for_lock
from regionspot_core.support.records import read_json_object
from regionspot_train.config import RUN_RECORD
from regionspot_train.record.disk import explained_disk_errors
from regionspot_train.record.folder import CHECKPOINTS

LOCK = "run.lock"
"""File whose lock is the right to write into its folder; it names the process that has it."""
BEGUN = (RUN_RECORD, LOCK)
"""Files that a run leaves that was killed as it began."""
PATIENCE_SECONDS = 30.0
"""Time that a resumed run waits for the one before, which may still write its checkpoint."""


@contextmanager
def claimed(
    folder: Path, *, resume: bool, sweep: bool = False, patience: float | None = None
) -> Iterator[None]:
    """Hold the right to write into a folder, which is made where it is missing.

    The system drops the lock with the process that holds it, however that ends.

    Args:
        folder: The run's or the sweep's; it must be new, empty, or hold a run to go on with.
        resume: Whether it may hold one.
        sweep: Whether that is a sweep.
        patience: Seconds to wait for a process that has it; None: ``PATIENCE_SECONDS`` for a run
            that is resumed, none for a new one.

    Raises:
        CheckpointError: If another process has the folder, or it holds a run of the other kind, or
            it cannot be written.
        InputError: If it is no place for a folder, or holds files that are not a run's.
    """
    require_place_for_run(folder, resume=resume, sweep=sweep)
    if patience is None:
        patience = PATIENCE_SECONDS if resume else 0.0
    new = not folder.exists()
    try:
        with explained_disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            lock = _lock(folder, patience)
        try:
            # Another process may have written here since the folder was looked at.
            require_place_for_run(folder, resume=resume, sweep=sweep)
            yield
        finally:
            # Before it is let go: one that waits for a file that is gone looks again.
            with suppress(OSError):
                (folder / LOCK).unlink()
            lock.release()
    finally:
        if new:
            with suppress(OSError):
                folder.rmdir()  # where nothing came of the run


def require_place_for_run(folder: Path, *, resume: bool, sweep: bool = False) -> None:
    """Refuse a folder with files that are not a run's, or that a run of the other kind has.

    Whether a run that is there may be gone on with is for :class:`RunFolder` to say.

    Args:
        folder: Where a run or a sweep is to be written.
        resume: Whether it may be there already.
        sweep: Which of the two it is.

    Raises:
        CheckpointError: If the folder holds a sweep and a run is to be written, or the reverse.
        InputError: If it is no place for a folder, or holds something else.
    """
    require_folder_or_nothing(folder)
    if not any((folder / name).exists() for name in (RECORD, RUN_RECORD, CHECKPOINTS)):
        instead = " or, with --resume, a run's" if resume else ""
        require_empty_folder(folder, but=BEGUN, instead=instead)
        return
    record = _record(folder)
    if record is None:
        return
    if "config" not in record:
        raise CheckpointError(
            f"{folder}: its {RUN_RECORD} is not that of a training run; choose another --out"
        )
    if ("space" in record) != sweep:
        here, wanted = ("a run", "a sweep") if sweep else ("a sweep", "a run")
        raise CheckpointError(
            f"{folder}: expected a folder for {wanted}, found {here} in it; choose another --out"
        )


def _record(folder: Path) -> dict[str, Any] | None:
    """Return the record of the run in a folder; None if it cannot be read, which others report."""
    with suppress(OSError, CheckpointError):
        return read_json_object(folder / RUN_RECORD, error=CheckpointError)
    return None


def _lock(folder: Path, patience: float) -> HeldLock:
    """Take the lock, and write this process's name into its file."""
    path = folder / LOCK
    try:
        lock = wait_for_lock(
            path,
            waiting=lambda: (
                f"{folder}: {_holder(path)} has it; waiting up to {patience:.0f} s for that to end"
            ),
            patience=patience,
        )
    except Timeout:
        has = f"still has it after {patience:.0f} s" if patience else "has it"
        raise CheckpointError(
            f"{folder}: {_holder(path)} {has}, and two cannot write one run; wait until that has "
            f"ended, or choose another --out"
        ) from None
    with suppress(OSError):  # a full disk, say; the name only serves a message
        path.write_text(f"{os.getpid()} on {socket.gethostname()}\n", encoding="utf-8")
    return lock


def _holder(path: Path) -> str:
    """Return the process that has the lock, by its file."""
    with suppress(OSError, UnicodeDecodeError):
        words = path.read_text(encoding="utf-8").split("\n")[0][:200]
        if words:
            return f"process {words}"
    return "another process"
