"""The pictures that are offered, with what is known of each, filtered and in an order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from regionspot_app.corrections import Corrections
from regionspot_app.pictures import Pictures
from regionspot_app.queue.looks import Look, Looks
from regionspot_app.workbench.workbench import Workbench
from regionspot_core.heads.unknown_classes import NONE_OF_THESE

Only = Literal["all", "open", "differing"]
Order = Literal["folder", "least_sure", "disagreement"]


@dataclass(frozen=True)
class Entry:
    """One picture of the queue."""

    number: int
    picture: str
    done: bool
    saved: tuple[str, ...]
    """Names of its saved regions."""
    look: Look | None
    """What the heads answered; None where nobody has looked yet."""

    @property
    def names(self) -> list[str]:
        """Return the names of its regions: those saved, and the heads'."""
        found = set(self.saved)
        if self.look is not None:
            found |= {*self.look.names, *([NONE_OF_THESE] if self.look.none_of_these else [])}
        return sorted(found)

    @property
    def disagreement(self) -> float:
        """Return the share of its regions that two heads name differently."""
        if self.look is None or not self.look.differing:
            return 0.0
        return self.look.differing / self.look.regions

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "number": self.number,
            "name": self.picture,
            "done": self.done,
            "names": self.names,
            "look": None if self.look is None else self.look.model_dump(mode="json"),
        }


class Queue:
    """The pictures that are offered, and what is known of them.

    Args:
        bench: The models, which say what a question is.
        pictures: Pictures that are offered.
        corrections: What is saved.
        looks: What the heads answered.
    """

    def __init__(
        self, bench: Workbench, pictures: Pictures, corrections: Corrections, looks: Looks
    ) -> None:
        self.bench = bench
        self.pictures = pictures
        self.corrections = corrections
        self.looks = looks

    def entries(self, names: Sequence[str] | None) -> list[Entry]:
        """Return every picture, in the folder's order.

        Args:
            names: The names that are asked about; None for the app's own.
        """
        looks = self.looks.of(self.bench.question(names))
        return [
            Entry(
                number,
                picture,
                self.corrections.is_done(picture),
                tuple(sorted({each.name for each in self.corrections.regions(picture)})),
                looks.get(picture),
            )
            for number, picture in enumerate(self.pictures.names)
        ]


def arranged(entries: Sequence[Entry], only: Only, name: str | None, order: Order) -> list[Entry]:
    """Return the pictures that a filter leaves, in an order.

    Args:
        entries: Pictures in the folder's order.
        only: ``open``: those not done; ``differing``: those with a region that two heads name
            differently.
        name: Name that a region must have; case does not count. None: any.
        order: ``least_sure``: the smallest probability first, before it pictures with a region of
            none of the names; ``disagreement``: the largest share of regions that two heads name
            differently first. Pictures that nobody has looked at come last.
    """
    keep: dict[Only, Callable[[Entry], bool]] = {
        "all": lambda entry: True,
        "open": lambda entry: not entry.done,
        "differing": lambda entry: entry.disagreement > 0,
    }
    wanted = None if name is None else name.casefold()
    kept = [
        entry
        for entry in entries
        if keep[only](entry)
        and (wanted is None or wanted in (each.casefold() for each in entry.names))
    ]
    if order == "least_sure":
        kept.sort(key=_sureness)
    elif order == "disagreement":
        kept.sort(key=lambda entry: (entry.look is None, -entry.disagreement))
    return kept


def _sureness(entry: Entry) -> tuple[bool, bool, bool, float]:
    look = entry.look
    if look is None or look.least is None:
        return look is None, True, True, 1.0
    return False, False, not look.none_of_these, look.least
