"""Short names for the heads of one evaluation, from their folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from regionspot_core.errors import InputError
from regionspot_core.heads.checkpoint import BEST


def head_names(heads: Sequence[Path]) -> list[str]:
    """Return the last part of each folder's path, or as many last parts as make them differ.

    The best head of a run, in the folder ``best`` of it, has the run's name before that.

    Raises:
        InputError: If one head is given twice.
    """
    folders = [head.resolve() for head in heads]
    twice = next((h for h, f in zip(heads, folders, strict=True) if folders.count(f) > 1), None)
    if twice is not None:
        raise InputError(f"--head {twice}: given twice")
    parts = [_parts(folder) for folder in folders]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["-".join(each[-depth:]) or "head" for each in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{name}-{number}" for number, name in enumerate(names, 1)]


def _parts(folder: Path) -> list[str]:
    parts = [part for part in folder.parts if part != folder.anchor]
    if len(parts) > 1 and parts[-1] == BEST:
        parts[-2:] = [f"{parts[-2]}-{BEST}"]
    return parts
