"""Runs of an extraction in processes that are killed at a chosen event, and start at once."""

import errno
import fcntl
import os
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from file_events import FileEvents
from forked import FORKS

from regionspot_extract.config import ExtractConfig


def start(
    config: ExtractConfig, log: Path, kill_at: int | None = None, *, bare: bool = False
) -> BaseProcess:
    """Begin a run, which kills itself at its ``kill_at``-th event on the store, if it comes there.

    ``log`` gets its standard error, a line for every part it begins, and the number of events.
    ``bare``: on a file system that has no locks and cannot be waited for.
    """
    arguments = (config.model_dump(mode="json"), log, kill_at, bare)
    process = FORKS.Process(target=_extract, args=arguments)
    process.start()
    return process


def events(log: Path) -> int:
    """How many events a run that ended well had."""
    (line,) = (line for line in log.read_text().splitlines() if line.startswith("events "))
    return int(line.removeprefix("events "))


def parts_begun(log: Path) -> list[int]:
    """The parts that a run began to encode."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [int(line.removeprefix("begun ")) for line in lines if line.startswith("begun ")]


def _extract(config: dict[str, Any], log: Path, kill_at: int | None, bare: bool) -> None:
    from regionspot_core.support.fault_points import at_points
    from regionspot_extract.run import run_extraction

    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 2)

    def note(point: str, part: int) -> None:
        if point == "encode part":
            os.write(descriptor, f"begun {part}\n".encode())

    if bare:
        fcntl.flock, os.fsync = _refuse(errno.ENOLCK), _refuse(errno.EINVAL)
    happened = FileEvents(Path(config["out"]), kill_at)
    with at_points(note):
        run_extraction(ExtractConfig.parse(config, source="test"))
    os.write(descriptor, f"events {happened.end()}\n".encode())


def _refuse(number: int) -> Callable[..., None]:
    """Return a system call that the file system does not have."""

    def call(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    return call
