"""The story of a verification: read every byte of a run's heads and checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from regionspot_core.checkpoint import RECORD, WEIGHTS, read_beside, read_record, verify_head
from regionspot_core.errors import CheckpointError, ConfigError, InputError
from regionspot_core.records import read_json_object
from regionspot_train.config import RUN_RECORD, TrainConfig
from regionspot_train.record.folder import BEST, CHECKPOINTS, STATE, checkpoint_step
from regionspot_train.record.state import read_state
from regionspot_train.sweep.places import TRIALS


@dataclass(frozen=True)
class Checked:
    """A head or a checkpoint, in a folder of its own, or a run's record."""

    path: Path
    problem: str | None
    """None: it is whole."""
    has_checksums: bool = True
    """Whether being whole is certain; what older versions wrote is only known to be readable."""


@dataclass(frozen=True)
class RunVerification:
    """What is whole of a run, of a sweep, or of a head."""

    path: Path
    finished: bool
    """Whether a finished head is there, damaged or not."""
    checked: tuple[Checked, ...]

    @property
    def damaged(self) -> list[Checked]:
        """What must not be used."""
        return [each for each in self.checked if each.problem is not None]

    @property
    def unsealed(self) -> list[Checked]:
        """What is readable and has no checksums."""
        return [each for each in self.checked if each.problem is None and not each.has_checksums]


def verify_run(folder: Path) -> RunVerification:
    """Read every byte of the heads and checkpoints in a run's, sweep's or head's folder.

    Raises:
        InputError: There is neither of them in it.
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
    """A run's record has no checksum: it must be readable."""
    try:
        read_json_object(path, error=CheckpointError)
    except CheckpointError as error:
        return Checked(path, str(error))
    return Checked(path, None)


def _check_head(folder: Path) -> Checked:
    try:
        sealed = verify_head(folder)
        step = checkpoint_step(folder)
        if step is not None:
            _check_state(folder, step)
    except (CheckpointError, ConfigError) as error:
        return Checked(folder, str(error))
    return Checked(folder, None, sealed)


def _check_state(folder: Path, step: int) -> None:
    """A checkpoint is whole if a run can go on from it."""
    record, path = read_record(folder), folder / STATE
    config = TrainConfig.parse(record.training.get("config"), source=str(folder / RECORD))
    content = read_beside(folder, STATE)
    read_state(content, step=step, shape=record.config, config=config, source=str(path))
