"""Trackers that a run sends its figures to: TensorBoard, Weights & Biases."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Protocol

from regionspot_core.errors import ConfigError
from regionspot_core.support.error_text import one_line
from regionspot_core.support.files import write_json
from regionspot_core.support.records import Record, read_json_object
from regionspot_train.config import LogConfig
from regionspot_train.learning.validation import Accuracy
from regionspot_train.record.disk import explained_disk_errors
from regionspot_train.record.meter import LogLine

OPTIONAL = ("held_out", "ap", "ap_r", "ap_c", "ap_f")
"""Figures that not every validation has."""
TENSORBOARD = "tensorboard"
WANDB = "wandb.json"


class Tracker(Protocol):
    """Receiver of a run's figures."""

    def add(self, step: int, figures: dict[str, float]) -> None:
        """Send figures of a step, by names such as ``train/loss``."""
        ...

    def close(self, *, failed: bool) -> None:
        """End the tracking of this call of the run, with an error or without."""
        ...


class Trackers:
    """All trackers of a run. Their packages are checked here, and :meth:`open` begins them.

    Raises:
        ConfigError: If the package of one is not installed.
    """

    def __init__(self, config: LogConfig) -> None:
        self._config = config
        self._trackers: list[Tracker] = []
        if config.tensorboard:
            _require("tensorboard", option="log.tensorboard=true", off="log.tensorboard=false")
        if config.wandb is not None:
            _require("wandb", option=f"log.wandb={config.wandb}", off="log.wandb=none")

    def open(self, folder: Path, run: dict[str, Any], step: int) -> None:
        """Begin, or go on after ``step`` steps.

        Args:
            folder: The run's folder, with TensorBoard's files and the id of the run at W&B.
            run: The run's settings, for W&B's table of runs.
            step: Last step that stays; a call that was killed may have sent later ones.

        Raises:
            ConfigError: If W&B refuses to begin, as nobody is logged in, say.
        """
        if self._config.wandb is not None:
            self._trackers.append(_WandB(self._config.wandb, folder, run))
        if self._config.tensorboard:
            self._trackers.append(_TensorBoard(folder, step))

    def line(self, line: LogLine) -> None:
        """Send the figures of a line of the log."""
        names = ("loss", "lr", "gradient_norm", "regions_per_second", "waiting_share")
        self._add(line.step, {f"train/{name}": getattr(line, name) for name in names})

    def validation(self, accuracy: Accuracy) -> None:
        """Send the figures of a validation."""
        optional = {name: getattr(accuracy, name) for name in OPTIONAL}
        figures = {"top1": accuracy.top1, "class_mean": accuracy.class_mean}
        figures |= accuracy.by_frequency
        figures |= {name: value for name, value in optional.items() if value is not None}
        self._add(accuracy.step, {f"validation/{name}": value for name, value in figures.items()})

    def close(self, *, failed: bool) -> None:
        """Close all trackers, once."""
        while self._trackers:
            self._trackers.pop().close(failed=failed)

    def _add(self, step: int, figures: dict[str, float]) -> None:
        for tracker in self._trackers:
            tracker.add(step, figures)


class _TensorBoard:
    """Event files in a folder of the run; a run that goes on adds one, which hides later steps."""

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._folder = folder
        self._writer = SummaryWriter(folder / TENSORBOARD, purge_step=step + 1 if step else None)

    def add(self, step: int, figures: dict[str, float]) -> None:
        with explained_disk_errors(self._folder):
            for name, value in figures.items():
                self._writer.add_scalar(name, value, step)
            # On disk before the next checkpoint, from where a run sends only later steps.
            self._writer.flush()

    def close(self, *, failed: bool) -> None:
        self._writer.close()


class _Kept(Record, extra="allow"):
    """Content of ``wandb.json``."""

    id: str


class _WandB:
    """A run at W&B, whose id is kept, so that a run that goes on is the same there."""

    def __init__(self, project: str, folder: Path, run: dict[str, Any]) -> None:
        wandb = importlib.import_module("wandb")
        kept = folder / WANDB
        known = _Kept.parse(read_json_object(kept), source=str(kept)).id if kept.exists() else None
        try:
            self._run = wandb.init(
                project=project,
                name=folder.resolve().name,
                dir=str(folder),
                id=known,
                resume="allow",
                reinit="create_new",  # the heads of a sweep are runs beside each other
                config=run,
            )
        except wandb.Error as error:
            raise ConfigError(
                f"log.wandb={project}: Weights & Biases does not begin ({one_line(error)}); log "
                f"in by `wandb login`, set WANDB_MODE=offline, or set log.wandb=none"
            ) from None
        if known is None:
            write_json(kept, {"project": project, "id": self._run.id})

    def add(self, step: int, figures: dict[str, float]) -> None:
        # Steps that W&B has been told already, before a kill, it leaves as they are.
        self._run.log(figures, step=step)

    def close(self, *, failed: bool) -> None:
        self._run.finish(exit_code=int(failed))


def _require(package: str, *, option: str, off: str) -> None:
    try:
        importlib.import_module(package)
    except ImportError:
        raise ConfigError(
            f"{option}: the package {package} is not installed; "
            f"pip install 'regionspot[{package}]', or set {off}"
        ) from None
