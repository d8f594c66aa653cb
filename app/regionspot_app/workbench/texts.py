"""Class embeddings of names that people try: a name is embedded once."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from regionspot_core.backbones.protocols import ImageTextEncoder
from regionspot_core.datasets.vocabulary import Vocabulary
from regionspot_core.errors import InputError
from regionspot_core.text.class_bank import ClassBank
from regionspot_core.text.embed import build_class_bank, paper_text

MOST_NAMES = 20_000
LONGEST_NAME = 200
"""Characters"""
NAMES_AT_ONCE = 8
"""Names that are embedded between two looks at the clock."""
MOST_KEPT = 100_000
"""Names whose embeddings are kept: 200 MB of a CLIP with 512 values."""


class ClassTexts:
    """Class embeddings by name, made the paper's way.

    Args:
        encoder: The CLIP.
    """

    def __init__(self, encoder: ImageTextEncoder) -> None:
        self._encoder = encoder
        self._rows: dict[str, NDArray[np.float32]] = {}

    def bank(self, names: Sequence[str]) -> ClassBank:
        """Return the class embeddings of K names; only those not seen before are embedded.

        Raises:
            InputError: If they are none, too many, too long, or two are the same.
        """
        require_names(names)
        vocabulary = Vocabulary.from_names(names)
        new = self._new(names)
        if new:
            self._embed(new)
        return ClassBank(
            vocabulary=vocabulary,
            embeddings=np.stack([self._rows[name] for name in names]),
            logit_scale=self._encoder.logit_scale,
            text=paper_text(vocabulary),
            clip=self._encoder.fingerprint(),
        )

    def embed_some(self, names: Sequence[str], seconds: float) -> int:
        """Embed names for a while, a few at least; return how many are left.

        Args:
            names: K class names.
            seconds: Time after which no more are begun.

        Raises:
            InputError: As :meth:`bank`.
        """
        require_names(names)
        new, end = self._new(names), time.monotonic() + seconds
        done = 0
        while done < len(new):
            self._embed(new[done : done + NAMES_AT_ONCE])
            done += NAMES_AT_ONCE
            if time.monotonic() >= end:
                break
        return max(0, len(new) - done)

    def _new(self, names: Sequence[str]) -> list[str]:
        if len(self._rows) + len(names) > MOST_KEPT:
            self._rows.clear()
        return [name for name in names if name not in self._rows]

    def _embed(self, new: Sequence[str]) -> None:
        made = build_class_bank(self._encoder, Vocabulary.from_names(new))
        self._rows |= dict(zip(new, made.embeddings, strict=True))


def require_names(names: Sequence[str]) -> None:
    """Refuse class names that cannot be asked about.

    Raises:
        InputError: If they are none, too many, too long, or two are the same.
    """
    if not 1 <= len(names) <= MOST_NAMES:
        raise InputError(f"names: expected 1 to {MOST_NAMES:,}, got {len(names):,}")
    odd = next((name for name in names if not 1 <= len(name.strip()) <= LONGEST_NAME), None)
    if odd is not None:
        raise InputError(
            f"names: expected 1 to {LONGEST_NAME} characters each, got {len(odd.strip())}"
        )
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InputError(f"names: expected different ones, got {name!r} twice")
        seen.add(name)
