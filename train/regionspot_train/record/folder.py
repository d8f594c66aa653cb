"""The folder of a training run: what it was asked, its checkpoints, and its finished head."""

from __future__ import annotations

import io
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from regionspot_core.errors import CheckpointError, ConfigError
from regionspot_core.fingerprint import require_equal
from regionspot_core.heads.checkpoint import (
    BEST,
    RECORD,
    HeadRecord,
    read_beside,
    read_record,
    read_weights,
    save_head,
    verify_head,
)
from regionspot_core.heads.head import Head
from regionspot_core.support.files import (
    folder_written_aside,
    remove_left_behind,
    require_folder_or_nothing,
    write_json,
)
from regionspot_core.support.progress import say
from regionspot_core.support.records import read_json_object
from regionspot_train.config import RUN_RECORD, TrainConfig, ValidationConfig
from regionspot_train.record.disk import explained_disk_errors
from regionspot_train.record.state import read_state

CHECKPOINTS = "checkpoints"
STATE = "state.pt"
_STEP = re.compile(r"step_([0-9]{7,18})")


@dataclass(frozen=True)
class Checkpoint:
    """A run as it was after a step."""

    weights: dict[str, torch.Tensor]
    state: dict[str, Any]


class RunFolder:
    """A run's folder, claimed for it.

    Args:
        path: The folder; it is made.
        identity: The run's settings and data, as JSON has them; ``run.json`` keeps them.
        facts: Other facts for ``run.json``; they may differ when the run is resumed.
        resume: Whether a run may be there already; it must be of the same settings and data.

    Raises:
        CheckpointError: If a run is there that is not to be resumed.
        FingerprintError: If the run there has other settings or data.
        InputError: If no folder can be made there.
    """

    def __init__(
        self, path: Path, identity: dict[str, Any], facts: dict[str, Any], *, resume: bool
    ) -> None:
        require_folder_or_nothing(path)
        self.path = path
        if (
            (path / RECORD).exists()
            or (path / RUN_RECORD).exists()
            or (path / CHECKPOINTS).exists()
        ):
            if not resume:
                raise CheckpointError(
                    f"{path}: already holds a training run; go on with it by --resume, or choose "
                    f"another --out"
                )
            self._require_same(identity)
            for step in self._steps():
                remove_left_behind(self._folder(step))
            return
        with explained_disk_errors(path):
            path.mkdir(parents=True, exist_ok=True)
            write_json(path / RUN_RECORD, {**identity, **facts})

    @property
    def finished(self) -> bool:
        """Return whether the folder has the finished head."""
        return (self.path / RECORD).exists()

    def latest(self, head: Head, config: TrainConfig) -> Checkpoint | None:
        """Read the last whole checkpoint; None if there is none.

        Damaged ones are passed over, and named.

        Args:
            head: The run's head, of any weights.
            config: The run's settings.

        Raises:
            CheckpointError: If there are checkpoints, and all of them are damaged.
        """
        problems: list[str] = []
        for step in reversed(self._steps()):
            try:
                whole = read_checkpoint(self._folder(step), step, head, config)
            except CheckpointError as error:
                problems.append(str(error))
                continue
            for problem in problems:
                say(f"train: {problem}. Going on from the checkpoint of step {step:,} instead")
            return whole
        if problems:
            raise CheckpointError(
                f"{problems[0]}, and none before it is whole; delete {self.path / CHECKPOINTS}, "
                f"and --resume begins anew"
            )
        return None

    def save(self, head: Head, record: HeadRecord, state: dict[str, Any], *, keep: int) -> None:
        """Add a checkpoint, whole or not at all; of the older ones only ``keep`` - 1 stay.

        Raises:
            CheckpointError: If the disk is full or cannot be written.
        """
        step = int(record.training["step"])
        folder = self._folder(step)
        with explained_disk_errors(self.path), folder_written_aside(folder) as partial:
            save_head(partial, head, record, beside={STATE: _saved(state)})
            shutil.rmtree(folder, ignore_errors=True)  # a damaged one, that was passed over
        steps = self._steps()
        behind = steps.index(step) + 1  # any later ones are damaged, and were passed over
        for old in [*steps[: max(0, behind - keep)], *steps[behind:]]:
            shutil.rmtree(self._folder(old))

    def save_best(self, head: Head, record: HeadRecord) -> None:
        """Write the best head so far in the place of the one before."""
        save_head(self.path / BEST, head, record)

    def finish(self, head: Head, record: HeadRecord) -> None:
        """Write the finished head into the run's folder, where other commands read it.

        Raises:
            CheckpointError: If the disk is full or cannot be written.
        """
        with explained_disk_errors(self.path):
            save_head(self.path, head, record)

    def last_step(self) -> int | None:
        """Return the step of the last checkpoint; None if there is none."""
        return max(self._steps(), default=None)

    def finished_step(self) -> int:
        """Return the step of the finished head.

        Raises:
            CheckpointError: If the head is damaged.
        """
        try:
            verify_head(self.path)
        except CheckpointError as error:
            raise CheckpointError(
                f"{error}. The run is finished, and its head is damaged: delete "
                f"{self.path / RECORD}, and --resume makes the head again from the last checkpoint"
            ) from None
        return int(read_record(self.path).training["step"])

    def warn_of_damaged_best(self) -> None:
        """Print a warning if the best head so far is damaged."""
        if (self.path / BEST).exists():
            try:
                verify_head(self.path / BEST)
            except CheckpointError as error:
                say(f"train: {error}. Only a head that is better than it was takes its place")

    def _folder(self, step: int) -> Path:
        return self.path / CHECKPOINTS / f"step_{step:07d}"

    def _steps(self) -> list[int]:
        """Return the steps of the checkpoints, rising."""
        steps = map(checkpoint_step, (self.path / CHECKPOINTS).glob("step_*"))
        return sorted(step for step in steps if step is not None)

    def _require_same(self, identity: dict[str, Any]) -> None:
        path = self.path / RUN_RECORD
        try:
            before = read_json_object(path, error=CheckpointError)
        except FileNotFoundError:
            raise CheckpointError(f"{path}: missing, so the run cannot be resumed") from None
        except CheckpointError as error:
            raise CheckpointError(f"{error}, so the run cannot be resumed") from None
        require_equal(
            identity,
            _with_new_settings({key: before.get(key) for key in identity}),
            what=f"{self.path} was asked for another run than this",
            advice="Resume it with what it was asked for, or choose another --out",
        )


def checkpoint_step(folder: Path) -> int | None:
    """Return the step in the name of a checkpoint's folder; None for any other folder."""
    name = _STEP.fullmatch(folder.name)
    return int(name[1]) if name else None


def read_checkpoint(folder: Path, step: int, head: Head, config: TrainConfig) -> Checkpoint:
    """Read the checkpoint of a step.

    Args:
        folder: The checkpoint's folder.
        step: The checkpoint's step.
        head: A head of the run's shape, of any weights.
        config: The run's settings.

    Raises:
        CheckpointError: If it is damaged, or another run's.
    """
    try:
        weights = read_weights(folder, head)
        content, source = read_beside(folder, STATE), str(folder / STATE)
        state = read_state(content, step=step, head=head, config=config, source=source)
    except CheckpointError as error:
        raise CheckpointError(f"{folder}: the checkpoint is damaged ({error})") from None
    return Checkpoint(weights, state)


def _with_new_settings(before: dict[str, Any]) -> dict[str, Any]:
    """Return a run's settings and data, with defaults of settings that are newer than the run."""
    filled = dict(before)
    with suppress(ConfigError, KeyError, TypeError):
        filled["config"] = TrainConfig.parse(before["config"], source=RUN_RECORD).to_json()
        if before.get("validation"):
            settings = ValidationConfig.parse(before["validation"]["settings"], source=RUN_RECORD)
            filled["validation"] = before["validation"] | {"settings": settings.to_json()}
    return filled


def _saved(state: dict[str, Any]) -> memoryview:
    """Return the bytes of a state's file. PyTorch's own writing hides the error of a full disk."""
    file = io.BytesIO()
    torch.save(state, file)
    return file.getbuffer()
