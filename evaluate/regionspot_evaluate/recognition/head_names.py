"""Short names for the heads of one evaluation, from their folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from regionspot_core.errors import InputError


def head_names(heads: Sequence[Path]) -> list[str]:
    """Return the last part of each folder's path, or as many last parts as make them differ.

    Raises:
        InputError: If one head is given twice.
    """
    folders = [head.resolve() for head in heads]
    twice = next((h for h, f in zip(heads, folders, strict=True) if folders.count(f) > 1), None)
    if twice is not None:
        raise InputError(f"--head {twice}: given twice")
    parts = [[part for part in folder.parts if part != folder.anchor] for folder in folders]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["-".join(each[-depth:]) or "head" for each in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{name}-{number}" for number, name in enumerate(names, 1)]
