"""Runs that end or wait at a chosen point (`regionspot_core.support.fault_points`), in any process.

As a program, ``python stepping.py SIGNAL POINT NUMBER WORDS…`` is `regionspot` with these words,
which sends itself the signal where it reaches the point with that number.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

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


def command(number: signal.Signals, point: str, at: int, *words: str) -> list[str]:
    """The program's command line."""
    return [sys.executable, __file__, number.name, point, str(at), *words]


def main() -> None:
    import regionspot.cli

    name, point, number = sys.argv[1:4]
    del sys.argv[1:4]

    def act(reached: str, at: int) -> None:
        if (reached, at) == (point, int(number)):
            os.kill(os.getpid(), signal.Signals[name])

    with at_points(act):
        regionspot.cli.main()


if __name__ == "__main__":
    main()
