"""A vocabulary: the class names of a data set, in a fixed order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from regionspot_core.errors import InputError


@dataclass(frozen=True)
class Vocabulary:
    """K classes. Class *index* is the position here; class *id* is the annotation file's number."""

    names: tuple[str, ...]
    ids: tuple[int, ...]
    frequencies: tuple[str, ...] = field(default=())
    """LVIS's ``r``, ``c`` or ``f`` for each class; ``""`` where the file does not say."""
    kinds: tuple[str, ...] = field(default=())
    """A free label that figures are broken down by (the file's optional key ``kind``)."""

    def __post_init__(self) -> None:
        for name in ("frequencies", "kinds"):
            if not getattr(self, name):
                object.__setattr__(self, name, ("",) * len(self.names))
        lengths = {len(self.names), len(self.ids), len(self.frequencies), len(self.kinds)}
        if len(lengths) > 1:
            raise InputError(
                f"a vocabulary needs a name, id, frequency and kind for every class, got "
                f"{len(self.names)} names, {len(self.ids)} ids, {len(self.frequencies)} "
                f"frequencies and {len(self.kinds)} kinds"
            )
        if not self.names:
            raise InputError("a vocabulary needs at least one class, got none")
        if len(set(self.ids)) < len(self.ids):
            raise InputError("a vocabulary's class ids must differ; two classes share one")

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def from_names(cls, names: Sequence[str]) -> Vocabulary:
        """Classes numbered from 1, without frequencies."""
        return cls(names=tuple(names), ids=tuple(range(1, len(names) + 1)))

    @cached_property
    def index_of_id(self) -> dict[int, int]:
        """Class id → class index."""
        return {class_id: index for index, class_id in enumerate(self.ids)}

    def to_json(self) -> dict[str, Any]:
        """Plain lists; :meth:`from_json` reads them back."""
        return {
            "names": list(self.names),
            "ids": list(self.ids),
            "frequencies": list(self.frequencies),
            "kinds": list(self.kinds),
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Vocabulary:
        """The vocabulary that :meth:`to_json` wrote."""
        return cls(
            names=tuple(values["names"]),
            ids=tuple(values["ids"]),
            frequencies=tuple(values["frequencies"]),
            kinds=tuple(values["kinds"]),
        )
