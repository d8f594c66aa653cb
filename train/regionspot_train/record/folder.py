"""The folder of a training run: what it was asked, its checkpoints, and its finished head."""

from __future__ import annotations

import io
import json
import pickle
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from regionspot_core.cache.fingerprint import require_equal
from regionspot_core.checkpoint import RECORD, WEIGHTS, HeadRecord, read_record, save_head
from regionspot_core.errors import CheckpointError, ConfigError
from regionspot_core.files import require_folder_or_nothing, write_json, written_aside
from regionspot_core.fusion import FusionHead
from regionspot_train.config import RUN_RECORD, TrainConfig, ValidationConfig
from regionspot_train.record.disk import disk_errors_said

CHECKPOINTS = "checkpoints"
BEST = "best"
STATE = "state.pt"
_STEP = re.compile(r"step_(\d{7,})")


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
            return
        with disk_errors_said(path):
            path.mkdir(parents=True, exist_ok=True)
            write_json(path / RUN_RECORD, {**asked, **facts})

    @property
    def finished(self) -> bool:
        """Whether the run ended, and its head is here."""
        return (self.path / RECORD).exists()

    def latest(self) -> Checkpoint | None:
        """The run after its last checkpoint; None where it has none.

        Raises:
            CheckpointError: The checkpoint is damaged.
        """
        steps = self._steps()
        if not steps:
            return None
        folder = self._folder(steps[-1])
        try:
            weights = load_file(folder / WEIGHTS)
            state = torch.load(folder / STATE, map_location="cpu", weights_only=True)
        except (OSError, SafetensorError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
            reason = " ".join(str(error).split())[:100]
            raise CheckpointError(
                f"{folder}: the checkpoint is damaged ({reason}); delete it, and --resume goes on "
                f"from the one before"
            ) from None
        return Checkpoint(weights, state)

    def save(
        self, head: FusionHead, record: HeadRecord, state: dict[str, Any], *, keep: int
    ) -> None:
        """Add a checkpoint, whole or not at all; of the older ones only ``keep`` - 1 stay.

        Raises:
            CheckpointError: The disk is full, or will not be written.
        """
        folder = self._folder(int(record.training["step"]))
        partial = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        try:
            with disk_errors_said(self.path):
                save_head(partial, head, record)
                with written_aside(partial / STATE) as file:
                    file.write_bytes(_saved(state))
                shutil.rmtree(folder, ignore_errors=True)
                partial.rename(folder)
        finally:  # of a full disk, half a checkpoint would take the last of the room
            shutil.rmtree(partial, ignore_errors=True)
        for old in self._steps()[:-keep]:
            shutil.rmtree(self._folder(old))

    def save_best(self, head: FusionHead, record: HeadRecord) -> None:
        """Put the best head so far in the place of the one before."""
        save_head(self.path / BEST, head, record)

    def finish(self, head: FusionHead, record: HeadRecord) -> None:
        """Put the finished head where other commands look for it.

        Raises:
            CheckpointError: The disk is full, or will not be written.
        """
        with disk_errors_said(self.path):
            save_head(self.path, head, record)

    def last_step(self) -> int | None:
        """The step of the last checkpoint; None where there is none."""
        return max(self._steps(), default=None)

    def finished_step(self) -> int:
        """The step that the finished head was taken at."""
        return int(read_record(self.path).training["step"])

    def _folder(self, step: int) -> Path:
        return self.path / CHECKPOINTS / f"step_{step:07d}"

    def _steps(self) -> list[int]:
        """Of the checkpoints, rising."""
        names = [path.name for path in (self.path / CHECKPOINTS).glob("step_*")]
        return sorted(int(found[1]) for found in map(_STEP.fullmatch, names) if found)

    def _require_asked(self, asked: dict[str, Any]) -> None:
        try:
            before = json.loads((self.path / RUN_RECORD).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"{self.path / RUN_RECORD}: cannot be read ({error}), so the run cannot be resumed"
            ) from None
        require_equal(
            asked,
            _with_new_settings({key: before.get(key) for key in asked}),
            what=f"{self.path} was asked for another run than this",
            advice="Resume it with what it was asked for, or choose another --out",
        )


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
