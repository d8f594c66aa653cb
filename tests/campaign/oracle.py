"""What must hold of a command, whatever it was given."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Sequence
from fnmatch import fnmatch

from campaign.forks import Ended
from campaign.place import Contents

ERROR = "regionspot: error: "
_RAW = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\xc2[\x80-\x9f]")
"""Bytes by which text commands a terminal: control characters but tab and the ends of lines."""


def problems(ended: Ended, *, given: Sequence[str] = (), may_be_cut: bool = False) -> list[str]:
    """What is wrong with how a command ended.

    Args:
        ended: How it did.
        given: The command's words, which it may say again.
        may_be_cut: Whether it may have real work for longer than it was given.
    """
    if may_be_cut and (ended.code == -24 or b"ended with -24" in ended.stderr):
        return _printed(ended)  # it, or a process of its own, was cut
    if ended.code < 0 or ended.timed_out:
        what = "did not end" if ended.timed_out or ended.code in (-24, -9) else "was aborted"
        return [f"{what} (signal {-ended.code} after {ended.seconds:.1f} s of processor)"]
    found = []
    errors = ended.errors
    if "Traceback (most recent call last)" in errors:
        found.append(f"a traceback: {errors.strip().splitlines()[-1][:200]}")
    elif ended.code not in (0, 1, 2):
        found.append(f"exit code {ended.code}")
    lines = [line for line in errors.splitlines() if line.startswith(ERROR)]
    if len(lines) != (ended.code == 2) and not (ended.code == 1 and len(lines) <= 1):
        found.append(f"exit code {ended.code} with {len(lines)} error lines")
    length = 2_000 + 4 * sum(map(len, given))  # a word may be printed escaped
    found += [f"a line of {len(line):,} characters" for line in lines if len(line) > length]
    if "Warning: " in errors:  # Python's own, and libraries'
        at = errors.index("Warning: ")
        found.append(f"a warning: {errors[max(0, at - 60) : at + 150]!r}")
    return found + _printed(ended)


def _printed(ended: Ended) -> list[str]:
    for name, stream in (("stdout", ended.stdout), ("stderr", ended.stderr)):
        if raw := _RAW.search(stream.replace(b"\r", b"")):
            around = stream[max(0, raw.start() - 30) : raw.end() + 30]
            return [f"a raw control character on {name}: {around!r}"]
    return []


def changes(before: Contents, after: Contents, *, allowed: Collection[str]) -> list[str]:
    """What was made, changed or removed outside of what a command was given to write."""
    found = []
    for name in sorted(before.keys() | after.keys()):
        if any(
            name == each or name.startswith(f"{each}/") or fnmatch(name, each) for each in allowed
        ):
            continue
        if name not in after:
            found.append(f"{name!r} was removed")
        elif name not in before:
            found.append(f"{name!r} was made")
        elif before[name] != after[name]:
            found.append(f"{name!r} was changed")
    return found[:5]


def differing(expected: Contents, found: Contents) -> list[str]:
    """In which names two folders differ, and how."""
    return changes(expected, found, allowed=())


def say(words: Sequence[str]) -> str:
    """A command as a shell takes it."""
    return shlex.join(["regionspot", *words])
