"""Which of a validated run's two heads is used: that of its last step, or the best one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from regionspot_core.errors import CheckpointError
from regionspot_core.heads.checkpoint import BEST, read_record
from regionspot_core.support.progress import say_once


def say_which_heads(heads: Sequence[Path]) -> None:
    """Say of each head of a validated run which one it is, and how the other is named.

    A run's folder is the head of its last step, as without validation: the best one is chosen by
    the images it was validated on, and whether these may be scored too only the user knows.
    """
    for head in heads:
        run = head.parent if head.name == BEST else head
        best, last = _step(run / BEST), _step(run)
        if best is None or last is None or best == last:
            continue
        if head == run:
            say_once(
                f"{head}: the head of the last step, {last:,}; the best validated one, of step "
                f"{best:,}, is --head {run / BEST}"
            )
        else:
            say_once(
                f"{head}: the best validated head, of step {best:,}; that of the last step, "
                f"{last:,}, is --head {run}"
            )


def _step(head: Path) -> int | None:
    """Return the step of a head; None where there is none that can be read."""
    try:
        step: int | None = read_record(head).training.get("step")
    except CheckpointError:
        return None
    return step
