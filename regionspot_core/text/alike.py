"""Classes that a text tower cannot tell apart: their embeddings are one and the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from regionspot_core.support.progress import say_once
from regionspot_core.support.records import shown
from regionspot_core.text.class_bank import ClassBank

SAME = 1e-5
"""Largest difference of two embeddings of one text: it may have been computed in two batches."""
_SHOWN = 3
"""Pairs that a message names."""


def warn_of_alike(bank: ClassBank) -> None:
    """Say in one line which classes have the same embedding, if any have.

    CLIP reads the beginning of a text alone, in lower case: long names that differ at their end are
    the same to it, and no score could say so.
    """
    names = bank.vocabulary.names
    groups = alike(bank.embeddings)
    if not groups:
        return
    pairs = [f"{shown(names[first])} and {shown(names[other])}" for first, other, *_ in groups]
    more = f"; and {len(groups) - _SHOWN:,} more" if len(groups) > _SHOWN else ""
    say_once(
        f"CLIP cannot tell apart {'; '.join(pairs[:_SHOWN])}{more}: it reads only a text's "
        f"beginning, in lower case. Give them names that differ there"
    )


def alike(embeddings_KD: NDArray[np.float32]) -> list[list[int]]:
    """Return the groups of two and more rows that are the same, each by rising index.

    Rows that are the same have the same projection on any line, so only neighbours on one are
    compared: K log K steps, not K².
    """
    line = np.random.default_rng(0).standard_normal(embeddings_KD.shape[1])
    place = embeddings_KD.astype(np.float64) @ (line / np.linalg.norm(line))
    order = np.argsort(place)
    far = np.flatnonzero(np.diff(place[order]) > SAME) + 1
    groups = []
    for run in np.split(order, far):
        left = np.sort(run)
        while len(left) > 1:
            differ = np.abs(embeddings_KD[left] - embeddings_KD[left[0]]).max(axis=1) > SAME
            if np.count_nonzero(~differ) > 1:
                groups.append(left[~differ].tolist())
            left = left[differ]
    return sorted(groups)
