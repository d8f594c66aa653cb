"""Verification of a run: every byte of its heads and checkpoints is read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from regionspot_core.errors import CheckpointError, ConfigError, InputError
from regionspot_core.heads.checkpoint import (
    BEST,
    RECORD,
    WEIGHTS,
    read_beside,
    read_record,
    verify_head,
)
from regionspot_core.heads.registry import unallocated_head
from regionspot_core.heads.score_fusion import load_fusion
from regionspot_core.heads.unknown_classes import load_threshold
from regionspot_core.support.records import read_json_object
from regionspot_core.support.tables import facts_table, show
from regionspot_train.config import RUN_RECORD, TrainConfig
from regionspot_train.record.folder import CHECKPOINTS, STATE, checkpoint_step
from regionspot_train.record.state import read_state
from regionspot_train.sweep.slots import TRIALS

SHOWN = 20
"""Damaged heads and checkpoints that are printed; `--json` lists all."""


@dataclass(frozen=True)
class Checked:
    """A head or a checkpoint, in a folder of its own, or a run's record."""

    path: Path
    problem: str | None
    """Error that reading gave; None: it is whole."""
    has_checksums: bool = True
    """Whether it has checksums; a file of older versions is only known to be readable."""


@dataclass(frozen=True)
class RunVerification:
    """Result of a run's, a sweep's or a head's verification."""

    path: Path
    finished: bool
    """Whether the folder has a finished head, damaged or not."""
    checked: tuple[Checked, ...]

    @property
    def damaged(self) -> list[Checked]:
        """Damaged heads and checkpoints, which must not be used."""
        return [each for each in self.checked if each.problem is not None]

    @property
    def unsealed(self) -> list[Checked]:
        """Readable heads and checkpoints without checksums."""
        return [each for each in self.checked if each.problem is None and not each.has_checksums]


def verify_run(folder: Path) -> RunVerification:
    """Read every byte of the heads and checkpoints in a run's, sweep's or head's folder.

    Raises:
        InputError: If the folder holds none of them.
    """
    checked = tuple(_check(folder))
    if not checked:
        found = "nothing of theirs" if folder.is_dir() else "no such folder"
        raise InputError(
            f"{folder}: expected the folder of a training run, a sweep or a head, found {found}"
        )
    return RunVerification(folder, (folder / RECORD).exists(), checked)


def _check(folder: Path) -> Iterator[Checked]:
    if (folder / RUN_RECORD).exists():
        yield _check_record(folder / RUN_RECORD)
    if (folder / RECORD).exists() or (folder / WEIGHTS).exists():
        yield _check_head(folder)
    if (folder / BEST).exists():
        yield _check_head(folder / BEST)
    for checkpoint in sorted((folder / CHECKPOINTS).glob("*")):
        if checkpoint_step(checkpoint) is not None:
            yield _check_head(checkpoint)
    for trial in sorted((folder / TRIALS).glob("*")):
        yield from _check(trial)


def _check_record(path: Path) -> Checked:
    """Check that a run's record can be read; it has no checksum."""
    try:
        read_json_object(path, error=CheckpointError)
    except CheckpointError as error:
        return Checked(path, str(error))
    return Checked(path, None)


def _check_head(folder: Path) -> Checked:
    try:
        sealed = verify_head(folder)
        load_fusion(folder)
        load_threshold(folder)
        step = checkpoint_step(folder)
        if step is not None:
            _check_state(folder, step)
    except (CheckpointError, ConfigError) as error:
        return Checked(folder, str(error))
    return Checked(folder, None, sealed)


def _check_state(folder: Path, step: int) -> None:
    """Check that a run can go on from a checkpoint's state."""
    record, path = read_record(folder), folder / STATE
    config = TrainConfig.parse(record.training.get("config"), source=str(folder / RECORD))
    content = read_beside(folder, STATE)
    head = unallocated_head(record.config)
    read_state(content, step=step, head=head, config=config, source=str(path))


def print_verification(result: RunVerification, *, as_json: bool) -> None:
    """Print the result of a verification, as a table or as JSON."""
    if as_json:
        values = {
            "path": str(result.path),
            "whole": not result.damaged,
            "finished": result.finished,
            "checked": [
                {
                    "path": str(each.path),
                    "problem": each.problem,
                    "checksums": each.has_checksums,
                }
                for each in result.checked
            ],
        }
        print(json.dumps(values, indent=2))  # noqa: T201 - the output
        return
    damaged = result.damaged
    checkpoints = [each for each in result.checked if checkpoint_step(each.path) is not None]
    heads = [each for each in result.checked if each not in checkpoints and each.path.is_dir()]
    facts = {
        "heads": _whole(heads),
        "checkpoints": _whole(checkpoints),
        "finished": "yes" if result.finished else "no: the run has no head yet",
        "damaged": f"{len(damaged)} of {len(result.checked)}" if damaged else "nothing",
    }
    show(facts_table(str(result.path), facts))
    _print_checked("damaged:", damaged)
    _print_checked("readable, but written before there were checksums:", result.unsealed)


def _whole(checked: Sequence[Checked]) -> str:
    whole = sum(each.problem is None for each in checked)
    return f"{whole:,} of {len(checked):,} whole" if checked else "none"


def _print_checked(title: str, checked: Sequence[Checked]) -> None:
    if not checked:
        return
    show(title)
    for each in checked[:SHOWN]:
        show(f"  {each.problem or each.path}")
    if len(checked) > SHOWN:
        show(f"  … {len(checked) - SHOWN:,} more (--json lists all)")
