"""Runs that end at a chosen point (`regionspot_core.support.fault_points`), here or in a fork."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import forked
import pytest

from regionspot_core.support.fault_points import at_points


class Killed(BaseException):
    """As if the process had ended there: nothing in a run catches it."""


@contextmanager
def killed_at(point: str, number: int) -> Iterator[None]:
    """End what runs in the context at a point, which it must reach."""

    def die(reached: str, at: int) -> None:
        if (reached, at) == (point, number):
            raise Killed

    with at_points(die), pytest.raises(Killed):
        yield


@contextmanager
def numbers_at(point: str) -> Iterator[list[int]]:
    """The numbers with which a point is reached in the context."""
    numbers: list[int] = []

    def note(reached: str, at: int) -> None:
        if reached == point:
            numbers.append(at)

    with at_points(note):
        yield numbers


def run_command(
    *words: str, signalled: tuple[signal.Signals, str, int] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `regionspot` in a process of its own.

    Args:
        words: Its arguments.
        signalled: A signal that it sends itself where it reaches a point, with that point's number.
        cwd: Where it runs.
    """
    with tempfile.TemporaryDirectory() as folder:
        asked = (words, signalled, cwd or Path.cwd(), Path(folder))
        process = forked.FORKS.Process(target=_run, args=asked)
        process.start()
        forked.wait(process)
        assert process.exitcode is not None
        printed = [Path(folder, name).read_text(encoding="utf-8") for name in ("stdout", "stderr")]
        return subprocess.CompletedProcess(words, process.exitcode, *printed)


def _run(
    words: tuple[str, ...], signalled: tuple[signal.Signals, str, int] | None, cwd: Path, told: Path
) -> None:
    import regionspot.cli

    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        file = os.open(told / name, os.O_WRONLY | os.O_CREAT)
        os.dup2(file, descriptor)
        os.close(file)
    os.chdir(cwd)
    sys.argv = ["regionspot", *words]

    def act(reached: str, at: int) -> None:
        if signalled is not None and (reached, at) == signalled[1:]:
            os.kill(os.getpid(), signalled[0])

    with at_points(act):
        regionspot.cli.main()
