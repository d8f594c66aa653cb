"""Names of classes in a file of a user's, matched with those of a vocabulary."""

from __future__ import annotations

from collections.abc import Sequence

from regionspot_core.datasets.vocabulary import Vocabulary
from regionspot_core.errors import InputError
from regionspot_core.support.records import shown
from regionspot_core.support.tables import counted
from regionspot_core.text.class_text import name_as_read

_SHOWN = 3
"""Names that a message shows."""


def match_names(
    vocabulary: Vocabulary, names: Sequence[str], *, source: str
) -> tuple[int | None, ...]:
    """Return (K,) for each class the position of its name in ``names``; None where it is not there.

    A name fits the class that is spelled the same, or else the one that CLIP reads as the same:
    ``dining_table`` and ``Dining table``.

    Args:
        vocabulary: The classes.
        names: The names.
        source: Where the names come from, for the message.

    Raises:
        InputError: If a name fits no class.
    """
    exact = {name: place for place, name in enumerate(names)}
    as_read = {name_as_read(name): place for place, name in enumerate(names)}
    found = tuple(exact.get(name, as_read.get(name_as_read(name))) for name in vocabulary.names)
    known = set(found)
    unknown = [name for place, name in enumerate(names) if place not in known]
    if unknown:
        more = ", …" if len(unknown) > _SHOWN else ""
        raise InputError(
            f"{source}: expected names of the vocabulary alone, got "
            f"{counted(len(unknown), 'other')} ({', '.join(map(shown, unknown[:_SHOWN]))}{more}); "
            f"add them to the vocabulary, or take them out of the file"
        )
    return found
