"""Class embeddings of names that people try: a name is embedded once."""

from __future__ import annotations

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
        vocabulary = _vocabulary(names)
        if len(self._rows) + len(names) > MOST_KEPT:
            self._rows.clear()
        new = [name for name in names if name not in self._rows]
        if new:
            made = build_class_bank(self._encoder, Vocabulary.from_names(new))
            self._rows |= dict(zip(new, made.embeddings, strict=True))
        return ClassBank(
            vocabulary=vocabulary,
            embeddings=np.stack([self._rows[name] for name in names]),
            logit_scale=self._encoder.logit_scale,
            text=paper_text(vocabulary),
            clip=self._encoder.fingerprint(),
        )


def _vocabulary(names: Sequence[str]) -> Vocabulary:
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
    return Vocabulary.from_names(names)
