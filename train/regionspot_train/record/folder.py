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
BEST = "best"
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
        asked: The run's configuration and data, as JSON has them; ``run.json`` keeps them.
        facts: What else it keeps, of which nothing is held against a run that is resumed.
        resume: Whether a run may be there already; it must be one that was asked the same.

    Raises:
        CheckpointError: A run is there, and not to be resumed, or asked for something else.
        InputError: It is no place for a folder.
    """

    def __init__(
        self, path: Path, asked: dict[str, Any], facts: dict[str, Any], *, resume: bool
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
            self._require_asked(asked)
            for step in self._steps():
                remove_left_behind(self._folder(step))
            return
        with explained_disk_errors(path):
            path.mkdir(parents=True, exist_ok=True)
            write_json(path / RUN_RECORD, {**asked, **facts})

    @property
    def finished(self) -> bool:
        """Whether the run ended, and its head is here."""
        return (self.path / RECORD).exists()

    def latest(self, head: Head, config: TrainConfig) -> Checkpoint | None:
        """The run after its last whole checkpoint; None where it has none.

        Damaged ones are passed over, and named.

        Args:
            head: The run's, of any weights.
            config: The run's.

        Raises:
            CheckpointError: There are checkpoints, and all of them are damaged.
        """
        damaged: list[CheckpointError] = []
        for step in reversed(self._steps()):
            try:
                whole = read_checkpoint(self._folder(step), step, head, config)
            except CheckpointError as error:
                damaged.append(error)
                continue
            for problem in damaged:
                say(f"train: {problem}. Going on from the checkpoint of step {step:,} instead")
            return whole
        if damaged:
            raise CheckpointError(
                f"{damaged[0]}, and none before it is whole; delete {self.path / CHECKPOINTS}, and "
                f"--resume begins anew"
            )
        return None

    def save(self, head: Head, record: HeadRecord, state: dict[str, Any], *, keep: int) -> None:
        """Add a checkpoint, whole or not at all; of the older ones only ``keep`` - 1 stay.

        Raises:
            CheckpointError: The disk is full, or will not be written.
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
        """Put the best head so far in the place of the one before."""
        save_head(self.path / BEST, head, record)

    def finish(self, head: Head, record: HeadRecord) -> None:
        """Put the finished head where other commands look for it.

        Raises:
            CheckpointError: The disk is full, or will not be written.
        """
        with explained_disk_errors(self.path):
            save_head(self.path, head, record)

    def last_step(self) -> int | None:
        """The step of the last checkpoint; None where there is none."""
        return max(self._steps(), default=None)

    def finished_step(self) -> int:
        """The step that the finished head was taken at.

        Raises:
            CheckpointError: The head is damaged.
        """
        try:
            verify_head(self.path)
        except CheckpointError as error:
            raise CheckpointError(
                f"{error}. The run is finished, and its head is damaged: delete "
                f"{self.path / RECORD}, and --resume makes the head again from the last checkpoint"
            ) from None
        return int(read_record(self.path).training["step"])

    def look_at_best(self) -> None:
        """Say so where the best head so far is damaged."""
        if (self.path / BEST).exists():
            try:
                verify_head(self.path / BEST)
            except CheckpointError as error:
                say(f"train: {error}. Only a head that is better than it was takes its place")

    def _folder(self, step: int) -> Path:
        return self.path / CHECKPOINTS / f"step_{step:07d}"

    def _steps(self) -> list[int]:
        """Of the checkpoints, rising."""
        steps = map(checkpoint_step, (self.path / CHECKPOINTS).glob("step_*"))
        return sorted(step for step in steps if step is not None)

    def _require_asked(self, asked: dict[str, Any]) -> None:
        path = self.path / RUN_RECORD
        try:
            before = read_json_object(path, error=CheckpointError)
        except FileNotFoundError:
            raise CheckpointError(f"{path}: missing, so the run cannot be resumed") from None
        except CheckpointError as error:
            raise CheckpointError(f"{error}, so the run cannot be resumed") from None
        require_equal(
            asked,
            _with_new_settings({key: before.get(key) for key in asked}),
            what=f"{self.path} was asked for another run than this",
            advice="Resume it with what it was asked for, or choose another --out",
        )


def checkpoint_step(folder: Path) -> int | None:
    """The step that a checkpoint's folder is of by its name; None where it is none."""
    found = _STEP.fullmatch(folder.name)
    return int(found[1]) if found else None


def read_checkpoint(folder: Path, step: int, head: Head, config: TrainConfig) -> Checkpoint:
    """Read the checkpoint of a step.

    Args:
        folder: The checkpoint's.
        step: It was taken at.
        head: One of the run's shape, of any weights.
        config: The run's.

    Raises:
        CheckpointError: It is damaged, or another run's.
    """
    try:
        weights = read_weights(folder, head)
        content, source = read_beside(folder, STATE), str(folder / STATE)
        state = read_state(content, step=step, head=head, config=config, source=source)
    except CheckpointError as error:
        raise CheckpointError(f"{folder}: the checkpoint is damaged ({error})") from None
    return Checkpoint(weights, state)


def _with_new_settings(before: dict[str, Any]) -> dict[str, Any]:
    """What a run was asked for, with the defaults of settings that it is older than."""
    filled = dict(before)
    with suppress(ConfigError, KeyError, TypeError):
        filled["config"] = TrainConfig.parse(before["config"], source=RUN_RECORD).to_json()
        if before.get("validation"):
            settings = ValidationConfig.parse(before["validation"]["settings"], source=RUN_RECORD)
            filled["validation"] = before["validation"] | {"settings": settings.to_json()}
    return filled


def _saved(state: dict[str, Any]) -> memoryview:
    """The bytes of a state's file. Written by PyTorch, a full disk would be no error of its own."""
    file = io.BytesIO()
    torch.save(state, file)
    return file.getbuffer()
