"""A vocabulary: the class names of a data set, in a fixed order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Any

from regionspot_core.errors import InputError

FREQUENCIES = ("r", "c", "f")
"""LVIS's marks for rare, common and frequent classes."""


def is_text(value: str) -> bool:
    """Return whether a string has a UTF-8 form and no NUL, which ends a text in many libraries.

    JSON can spell half a character, ``"\\ud800"``, and an argument may hold any bytes.
    """
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return "\0" not in value


@dataclass(frozen=True)
class Vocabulary:
    """K classes. Class *index* is the position here; class *id* is the annotation file's number."""

    names: tuple[str, ...]
    ids: tuple[int, ...]
    frequencies: tuple[str, ...] = field(default=())
    """LVIS's ``r``, ``c`` or ``f`` for each class; ``""`` where the file does not say."""
    kinds: tuple[str, ...] = field(default=())
    """A free label that figures are broken down by (the file's optional key ``kind``)."""
    synonyms: tuple[tuple[str, ...], ...] = field(default=())
    """Other words for each class, as LVIS gives them; empty where the file gives none."""

    def __post_init__(self) -> None:
        empty: dict[str, object] = {"frequencies": "", "kinds": "", "synonyms": ()}
        for name, nothing in empty.items():
            if not getattr(self, name):
                object.__setattr__(self, name, (nothing,) * len(self.names))
        lengths = {"ids": len(self.ids)} | {name: len(getattr(self, name)) for name in empty}
        wrong = [f"{count} {name}" for name, count in lengths.items() if count != len(self.names)]
        if wrong:
            raise InputError(
                f"a vocabulary needs one of each for every class, got {len(self.names)} names and "
                f"{' and '.join(wrong)}"
            )
        if not self.names:
            raise InputError("a vocabulary needs at least one class, got none")
        if len(set(self.ids)) < len(self.ids):
            raise InputError("a vocabulary's class ids must differ; two classes share one")
        words = chain(self.names, self.frequencies, self.kinds, *self.synonyms)
        odd = next((word for word in words if not is_text(word)), None)
        if odd is not None:
            raise InputError(
                f"a vocabulary's words must be text that UTF-8 can spell, without NUL; got {odd!r}"
            )

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def from_names(cls, names: Sequence[str]) -> Vocabulary:
        """Return classes numbered from 1, without frequencies."""
        return cls(names=tuple(names), ids=tuple(range(1, len(names) + 1)))

    @cached_property
    def index_of_id(self) -> dict[int, int]:
        """Return class indices by class id."""
        return {class_id: index for index, class_id in enumerate(self.ids)}

    def to_json(self) -> dict[str, Any]:
        """Return plain lists; :meth:`from_json` reads them back."""
        values: dict[str, Any] = {
            "names": list(self.names),
            "ids": list(self.ids),
            "frequencies": list(self.frequencies),
            "kinds": list(self.kinds),
        }
        if any(self.synonyms):
            values["synonyms"] = [list(words) for words in self.synonyms]
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Vocabulary:
        """Return the vocabulary that :meth:`to_json` wrote."""
        return cls(
            names=tuple(values["names"]),
            ids=tuple(values["ids"]),
            frequencies=tuple(values["frequencies"]),
            kinds=tuple(values["kinds"]),
            synonyms=tuple(tuple(words) for words in values.get("synonyms", ())),
        )
