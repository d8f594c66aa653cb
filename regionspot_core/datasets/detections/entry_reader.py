"""Base of the readers that take a results file's entries into columns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from regionspot_core.datasets.detections.entries import FormProblem
from regionspot_core.datasets.detections.entry_problems import EntryProblems
from regionspot_core.support.progress import say


class EntryReader(ABC):
    """Entries on their way into columns, checked block by block.

    Args:
        path: The file that errors name.
    """

    noun: ClassVar[str]
    """Word for an entry in errors."""
    verb: ClassVar[str]
    """Word for the use of an entry in errors."""
    form: type[Any]
    """Plain form of an entry, which a fast parser takes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seen = 0
        """Number of entries that were read."""
        self.problems = EntryProblems(path, noun=self.noun, verb=self.verb)
        self.by_file_name = False
        """Whether entries name images by their files."""

    @abstractmethod
    def parse(self, value: object) -> Any:  # noqa: ANN401 - an entry of the reader's own form
        """Return an entry of any form that can be used.

        Raises:
            FormProblem: If it has none of these forms.
        """

    @abstractmethod
    def add(self, entries: Sequence[Any], numbers: NDArray[np.int64]) -> None:
        """Add entries, whose places are ``numbers``; count those that cannot be used."""

    def add_values(self, block: list[tuple[int, object]]) -> None:
        """Add entries of any form, with their places; count those without a form."""
        entries, numbers = list[Any](), list[int]()
        for number, value in block:
            try:
                entries.append(self.parse(value))
                numbers.append(number)
            except FormProblem as problem:
                self.problems.count(problem.kind, [(number, problem.detail)])
        self.add(entries, np.array(numbers, dtype=np.int64))

    def finish(self) -> None:
        """Refuse the file if an entry cannot be used; say how images were found, where by name.

        Raises:
            AnnotationError: With the number of entries for each kind of problem, and the first.
        """
        self.problems.raise_if_any(self.seen)
        if self.by_file_name:
            say(f"{self.path}: names its images by their files; they are found by those names")


def column(entries: Sequence[Any], name: str, dtype: type[Any]) -> NDArray[Any]:
    """Return (n,) one number of each entry."""
    return np.fromiter(map(attrgetter(name), entries), dtype, len(entries))


def boxes(entries: Sequence[Any]) -> NDArray[np.float64]:
    """Return (n, 4) x, y, width, height of entries that all have a box."""
    values = chain.from_iterable(map(attrgetter("bbox"), entries))
    return np.fromiter(values, np.float64, 4 * len(entries)).reshape(-1, 4)
