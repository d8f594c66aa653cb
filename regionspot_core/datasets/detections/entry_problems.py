"""Entries that cannot be used: counted by what is wrong with them, shown, and refused together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from regionspot_core.errors import AnnotationError
from regionspot_core.imaging.boxes import has_negative_side
from regionspot_core.support.rounding import ROUNDING

SHOWN = 3
"""Entries that a message shows, the first ones."""


class EntryProblems:
    """The entries of a file that cannot be used.

    Args:
        path: The file.
        noun: Word for an entry in errors.
        verb: Word for the use of an entry.
        place: Text that says where entry ``number`` is in the file.
    """

    def __init__(
        self, path: Path, *, noun: str, verb: str, place: Callable[[int], str] = "entry {}".format
    ) -> None:
        self._path, self._noun, self._verb, self._place = path, noun, verb, place
        self._kinds, self._first = Counter[str](), list[tuple[int, str]]()

    def count(self, kind: str, shown: list[tuple[int, str]], count: int = 1) -> None:
        """Count entries with one kind of problem; ``shown`` has numbers and texts of some."""
        if count:
            self._kinds[kind] += count
            self._first = sorted(self._first + shown)[:SHOWN]

    def raise_if_any(self, seen: int) -> None:
        """Refuse the file if one of its ``seen`` entries has a problem.

        Raises:
            AnnotationError: With the number of entries for each kind of problem, and the first.
        """
        total = sum(self._kinds.values())
        if not total:
            return
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in self._kinds.most_common())
        first = "; ".join(f"{self._place(number)}: {text}" for number, text in self._first)
        more = f"; and {total - SHOWN:,} more" if total > SHOWN else ""
        raise AnnotationError(
            f"{self._path}: {total:,} of {seen:,} {self._noun} cannot be {self._verb}, and none "
            f"is left out: {kinds}. {first}{more}"
        )


class BlockCheck:
    """The check of one block of entries, each counted by the first thing that is wrong with it.

    Args:
        problems: Counter of the whole file.
        numbers: (n,) places of the entries in the file.
    """

    def __init__(self, problems: EntryProblems, numbers: NDArray[np.int64]) -> None:
        self.bad = np.zeros(len(numbers), dtype=bool)
        self._problems = problems
        self._numbers = numbers

    def refuse(self, wrong: NDArray[np.bool_], kind: str, text: Callable[[int], str]) -> None:
        """Count the entries where ``wrong`` is set; ``text`` says what is wrong with a row."""
        rows = np.flatnonzero(wrong & ~self.bad)
        shown = [(int(self._numbers[row]), text(row)) for row in rows[:SHOWN].tolist()]
        self._problems.count(kind, shown, len(rows))
        self.bad[rows] = True

    def require_ids(self, what: str, position: NDArray[np.int64], ids: NDArray[np.int64]) -> None:
        """Refuse ids, of images or classes, that were not found in the annotations."""
        absent = "is not in the annotations"
        self.refuse(
            position < 0, f"whose {what} {absent}", lambda row: f"{what} {ids[row]} {absent}"
        )

    def require_scores(self, score: NDArray[np.float64]) -> None:
        """Refuse scores that are not from 0 to 1, but for rounding."""
        self.refuse(
            ~((score >= -ROUNDING) & (score <= 1 + ROUNDING)),
            "with a score outside 0 to 1",
            lambda row: f"expected a score from 0 to 1, got {score[row]}",
        )

    def require_sides(self, box: NDArray[np.floating]) -> None:
        """Refuse boxes, x, y, width, height, with a negative side, but for rounding."""
        self.refuse(
            has_negative_side(box),
            "with a negative width or height",
            lambda row: (
                "expected a bbox whose width and height are not negative, got "
                f"{tuple(box[row].tolist())}"
            ),
        )
