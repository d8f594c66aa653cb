"""What the heads answered about each picture, in a few numbers, in the folder of what is saved.

Answers depend on the heads and on the names that were asked about: each such question has a file of
its own, ``looks/QUESTION.json``, which is written whole. Looks can always be taken again, so a
file that cannot be read counts as none.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import Field

from regionspot_app.workbench.heads import HeadSource
from regionspot_core.errors import InputError
from regionspot_core.support.files import write_json
from regionspot_core.support.records import Record, read_json_object
from regionspot_evaluate.recognition.image_regions import Recognition

LOOKS = "looks"
MOST_QUESTIONS = 8
"""Questions whose looks are kept; the one not asked for longest makes room."""
SECONDS_BETWEEN_WRITES = 3.0


class Look(Record):
    """The heads' answers about the regions of one picture."""

    regions: int = Field(ge=0)
    least: float | None = Field(default=None, ge=0, le=1)
    """Smallest probability of a region's best name, by the first head; None without a region."""
    none_of_these: int = Field(default=0, ge=0)
    """Regions that none of the names fits, by the first head."""
    names: tuple[str, ...] = ()
    """The other regions' best names, by the first head, sorted."""
    differing: int | None = Field(default=None, ge=0)
    """Regions that two heads name differently; None of one head."""


class _LooksFile(Record):
    pictures: dict[str, Look]


def look_of(
    found: Sequence[Recognition], heads: Sequence[HeadSource], names: Sequence[str]
) -> Look:
    """Return what heads answered about the R regions of one picture.

    Args:
        found: Each head's answer.
        heads: The heads.
        names: The K names that they chose among.
    """
    first = found[0].probabilities
    if not len(first):
        return Look(regions=0, differing=None if len(found) == 1 else 0)
    best = [each.probabilities.argmax(axis=1) for each in found]
    none = heads[0].none_of_these(found[0])
    return Look(
        regions=len(first),
        least=round(float(first.max(axis=1).min()), 5),
        none_of_these=int(none.sum()),
        names=tuple(sorted({names[k] for k in best[0][~none].tolist()})),
        differing=None if len(found) == 1 else int(np.sum(best[0] != best[1])),
    )


class Looks:
    """Looks at pictures, by question and picture, in memory and in a folder.

    The folder is not made for a few looks alone: only for what somebody saves, or for a look at all
    pictures.

    Args:
        folder: Folder of what is saved.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: OrderedDict[str, dict[str, Look]] = OrderedDict()
        self._changed: set[str] = set()
        self._written = time.monotonic()

    def of(self, question: str) -> dict[str, Look]:
        """Return the looks of a question, by the pictures' names."""
        if question not in self._known:
            self._known[question] = self._read(question)
            while len(self._known) > MOST_QUESTIONS:
                oldest, _ = self._known.popitem(last=False)
                self._changed.discard(oldest)
        self._known.move_to_end(question)
        return self._known[question]

    def note(self, question: str, picture: str, look: Look) -> None:
        """Remember a look in place of an earlier one."""
        self.of(question)[picture] = look
        self._changed.add(question)

    def write_sometimes(self, *, make: bool = False) -> None:
        """Write what has changed, unless that was done a moment ago.

        Raises:
            OSError: If the folder cannot be written.
        """
        if time.monotonic() - self._written >= SECONDS_BETWEEN_WRITES:
            self.write(make=make)

    def write(self, *, make: bool = False) -> None:
        """Write what has changed.

        Args:
            make: Whether the folder is made where it is not there.

        Raises:
            OSError: If it cannot be written; the files stay as they were.
        """
        if not self._changed or not (make or self._folder.exists()):
            return
        self._written = time.monotonic()
        (self._folder / LOOKS).mkdir(parents=True, exist_ok=True)
        for question in sorted(self._changed):
            looks = self._known[question]
            pictures = {name: look.model_dump(mode="json") for name, look in looks.items()}
            write_json(self._file(question), {"pictures": pictures})
        self._changed.clear()
        self._forget_oldest()

    def _forget_oldest(self) -> None:
        files = sorted(
            (self._folder / LOOKS).glob("*.json"), key=lambda file: file.stat().st_mtime_ns
        )
        for file in files[:-MOST_QUESTIONS]:
            file.unlink(missing_ok=True)

    def _file(self, question: str) -> Path:
        return self._folder / LOOKS / f"{question}.json"

    def _read(self, question: str) -> dict[str, Look]:
        file = self._file(question)
        try:
            values = read_json_object(file) if file.exists() else {"pictures": {}}
            return dict(_LooksFile.parse(values, source=str(file)).pictures)
        except InputError:
            return {}
