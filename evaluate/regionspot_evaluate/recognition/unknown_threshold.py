"""The score below which a region is called none of the given names."""

from __future__ import annotations

from pathlib import Path

from regionspot_core.heads.unknown_classes import load_threshold
from regionspot_evaluate.config import NO_THRESHOLD


def choose_threshold(asked: str | None, head: Path) -> float | None:
    """Return the threshold that is asked for, or else the one in the head's folder.

    Args:
        asked: A number, ``none`` for no threshold, or None for the head's own.
        head: The head's folder.

    Raises:
        CheckpointError: If the head's threshold cannot be read.
    """
    if asked is None:
        own = load_threshold(head)
        return None if own is None else own.threshold
    return None if asked == NO_THRESHOLD else float(asked)
