"""Patterns of paths: ``*``, ``?``, ``[…]``, ``**``, and braces for each of several texts."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from pathlib import Path

from regionspot_core.errors import InputError
from regionspot_core.support.input_files import kind_of

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_MOST_NUMBERS = 1_000_000


def is_pattern(path: Path) -> bool:
    """Return whether a path is a pattern, and nothing that is called so is there."""
    text = str(path)
    return not path.exists() and (glob.has_magic(text) or _BRACES.search(text) is not None)


def match_pattern(pattern: Path, *, option: str, expected: str) -> list[Path]:
    """Return the paths that a pattern names: of braces each, of stars those that are there.

    Args:
        pattern: A pattern, or a path, which is its own only match.
        option: Words that begin an error.
        expected: Words for what may be there.

    Raises:
        InputError: If there is none, or one that braces name is missing.
    """
    if pattern.exists():
        return [pattern]
    found = list[Path]()
    for text in _without_braces(str(pattern)):
        if glob.has_magic(text):
            found += sorted(map(Path, glob.glob(text, recursive=True)))  # noqa: PTH207 - of any folder
        elif Path(text).exists():
            found.append(Path(text))
        elif Path(text) != pattern:
            raise InputError(f"{option} {pattern}: {text} is not there")
    if not found:
        kind = "no match" if is_pattern(pattern) else kind_of(pattern)
        raise InputError(f"{option} {pattern}: expected {expected}, found {kind}")
    return found


def _without_braces(pattern: str) -> Sequence[str]:
    """Return a pattern's texts: ``{a,b}`` stands for either, ``{00..12}`` for each number."""
    braces = _BRACES.search(pattern)
    if braces is None:
        return [pattern]
    numbers = _RANGE.fullmatch(braces[1])
    if numbers:
        first, last = numbers.groups()
        if not 0 <= int(last) - int(first) < _MOST_NUMBERS:
            raise InputError(f"{pattern}: expected {{FIRST..LAST}}, got {braces[0]}")
        choices = [str(n).zfill(len(first)) for n in range(int(first), int(last) + 1)]
    else:
        choices = braces[1].split(",")
    before, after = pattern[: braces.start()], pattern[braces.end() :]
    return [text for choice in choices for text in _without_braces(before + choice + after)]
