"""Labelled classes that are held out of training, chosen by their names and a seed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from regionspot_core.datasets.split import held_out_count, seeded_hashes
from regionspot_core.errors import InputError
from regionspot_core.support.records import Record
from regionspot_core.text.class_text import name_as_read


class HeldOutClasses(Record):
    """Labelled classes that a head learnt nothing of: neither a region nor the name.

    To the head they are what a class is that was never labelled, only that their regions are known:
    what is tuned for unseen classes is tuned on them. The seed and the names decide; their order
    and what else is in the data set's file do not matter.
    """

    share: float = Field(gt=0, lt=1)
    """Share of the labelled classes that was asked for."""
    seed: int = Field(ge=0)
    names: tuple[str, ...] = Field(min_length=1)

    @classmethod
    def of(cls, labelled: Iterable[str], *, share: float, seed: int) -> Self:
        """Return a share of labelled classes, at least one: those with the lowest hashes.

        Args:
            labelled: Names of the classes with at least one region; two that CLIP reads alike are
                one class.
            share: Share of the classes to hold out.
            seed: The same seed, the same classes.

        Raises:
            InputError: If no class would be left to learn.
        """
        names = {name_as_read(name): name for name in sorted(labelled)}
        hashes = seeded_hashes(names, seed)
        count = held_out_count(len(names), share)
        if count >= len(names):
            raise InputError(
                f"data.hold_out_classes={share:g} holds out {count} of {len(names)} labelled "
                f"classes, which leaves none to learn; use a smaller share or more classes"
            )
        spelled = list(names.values())
        chosen = np.argsort(hashes, kind="stable")[:count]
        return cls(share=share, seed=seed, names=tuple(sorted(spelled[n] for n in chosen)))

    def among(self, names: Sequence[str]) -> NDArray[np.bool_]:
        """Return (K,) whether each class of a vocabulary is held out, by its name as CLIP reads it.

        Args:
            names: K class names.
        """
        held = {name_as_read(name) for name in self.names}
        return np.array([name_as_read(name) in held for name in names], dtype=bool)
