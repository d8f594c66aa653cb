"""One head's training: its learner, and everything that is written about it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from regionspot_core import __version__
from regionspot_core.heads.checkpoint import HeadRecord, read_record, read_weights
from regionspot_train.config import TrainConfig
from regionspot_train.data.loader import TrainBatch
from regionspot_train.data.sources import Source
from regionspot_train.learning.learner import Learner, StepResult
from regionspot_train.learning.validation import Accuracy, ValidationSet, Validator
from regionspot_train.processes import Processes
from regionspot_train.record.disk import explained_disk_errors
from regionspot_train.record.facts import run_facts
from regionspot_train.record.folder import RunFolder
from regionspot_train.record.log import RunLog
from regionspot_train.record.meter import Meter
from regionspot_train.record.report import REPORT, Ending, read_run, write_report
from regionspot_train.record.trackers import Trackers


@dataclass(frozen=True)
class TrainReport:
    """Outcome of a run."""

    steps: int
    resumed: int
    """Steps that were taken before this call."""
    loss: float | None
    """Mean over the last logged steps; None where none were logged."""
    parameters: int
    seconds: float
    """Duration of this call."""
    best: Accuracy | None = None
    """The best validation of the run."""
    stopped: int | None = None
    """Exit code of a run that was asked to stop; None: it ended by itself."""
    first: bool = True
    """Whether it comes from the process that writes and prints."""


@dataclass(frozen=True)
class _EarlierState:
    """State in which an earlier call left the run."""

    step: int
    finished: bool
    weights: dict[str, torch.Tensor] | None = None
    state: dict[str, Any] | None = None


class TrainingRun:
    """A head that learns, and its folder. It is fed from outside, so that many may share one read.

    Use as a context manager: its log is open inside, and its report is written at the end.

    Args:
        config: The run's settings.
        sources: The caches that batches come from.
        out: The run's folder; only the first process touches it.
        device: Device on which the head learns.
        processes: The processes that train the head together.
        validation: Cache that the head is validated on; None: it is not validated.
        resume: Whether to go on with the run in ``out``, if there is one.
        start_from: Folder of a head to begin with instead of fresh weights.
        pictured: Whether its curve and report are made at the end. It takes seconds, which all
            heads of a sweep would wait for.

    Raises:
        CheckpointError: If ``out`` already holds a run that is not to be resumed, or cannot be; or
            the head to start from cannot be read, or is of another shape.
        FingerprintError: If the run in ``out`` has other settings or data.
    """

    def __init__(
        self,
        config: TrainConfig,
        sources: Sequence[Source],
        out: Path,
        *,
        device: torch.device,
        processes: Processes | None = None,
        validation: ValidationSet | None = None,
        resume: bool = False,
        start_from: Path | None = None,
        pictured: bool = True,
    ) -> None:
        self.config = config
        self.out = out
        self.meter = Meter(device)
        self._pictured = pictured
        self._trackers = Trackers(config.log)
        self._sources = sources
        self._processes = processes or Processes()
        self._began = time.perf_counter()
        self.learner = Learner(config, sources, device, self._processes)
        self._validation = validation
        self._validator = Validator(config.validation)
        if validation is not None:
            validation.require_inputs(self.learner.head.config)
        self._started_from: dict[str, Any] | None = None
        if start_from is not None:
            self.learner.start_from(read_weights(start_from, self.learner.head))
            self._started_from = read_record(start_from).data_learnt_from
        self._folder: RunFolder | None = None
        self._log: RunLog | None = None
        if self._processes.first:
            head = {
                "config": self.learner.head.config.to_json(),
                "parameters": self.learner.parameters,
            }
            facts = {"head": head, **run_facts(sources, device)}
            self._folder = RunFolder(out, self._identity(start_from), facts, resume=resume)
            if pictured:
                read_run(out)  # so that a report which cannot be made fails now, not at the end
            self._log = RunLog(out, drawn=pictured)
        self._patience_lost = False
        self._rate = 0.0
        self._restore()

    @property
    def step(self) -> int:
        """Number of steps that were taken."""
        return self.learner.step

    @property
    def ended(self) -> bool:
        """Return whether the run has no more steps to take."""
        return self._finished or self.step >= self.config.steps or self._patience_lost

    @property
    def note(self) -> str:
        """Text of the progress line."""
        words = []
        if self._log and self._log.lines:
            words = self._log.lines[-1].words()
        if self._validator.history:
            words.append(f"top-1 {self._validator.history[-1].top1:.1%}")
        return ", ".join(words)

    @property
    def best_figure(self) -> float:
        """Best validation's figure by ``validation.best_by``."""
        return max(map(self._validator.figure, self._validator.history))

    def learn(self, batch: TrainBatch) -> None:
        """Take a step."""
        self.record_step(self.learner.learn(batch), batch)

    def record_step(self, result: StepResult, batch: TrainBatch) -> None:
        """Record a step that the learner took."""
        self._rate = result.lr
        self.meter.add(result.loss, result.gradient_norm, batch.regions)

    @property
    def validation_is_due(self) -> bool:
        """Return whether the step just taken is followed by a validation."""
        due = self._validator.due(self.step, self.config.steps)
        return self._validation is not None and due

    def validate_if_due(self) -> None:
        """Validate the head if that is due, and keep it if it is the best so far."""
        if self._validation is None or not self.validation_is_due:
            return
        if self._processes.first:
            with self.meter.left_out():
                (accuracy,) = self._validation.measure([self.learner.head], [self.step])
                self.record_validation(accuracy)
        self._patience_lost = self._processes.broadcast(self._validator.patience_is_lost)

    def record_validation(self, accuracy: Accuracy) -> float:
        """Record a validation of the head, and keep the head if it is the best so far.

        Returns:
            The figure by ``validation.best_by``.
        """
        assert self._folder is not None
        with explained_disk_errors(self._folder.path):
            if self._validator.add(accuracy):
                self._folder.save_best(self.learner.head, self._record())
            self._validator.write(self._folder.path)
            self._trackers.validation(accuracy)
        self._patience_lost = self._validator.patience_is_lost
        return self._validator.figure(accuracy)

    def write(self, *, stopping: bool = False) -> None:
        """Write a line of the log, a checkpoint or the finished head, if it is due after a step.

        Args:
            stopping: Whether the run stops here, and needs a checkpoint.
        """
        config = self.config
        if self.step % config.log_every == 0 or self.ended:
            line = self.meter.line(self.step, self._rate)
            if self._log:
                self._log.write(line)
                self._trackers.line(line)
        if self.ended:
            self._finish()
        elif stopping or self.step % config.checkpoint_every == 0:
            self.checkpoint()

    def checkpoint(self) -> None:
        """Write a checkpoint; every process must call this."""
        state = {"learner": self.learner.state(), "meter": self.meter.state()}
        if self._folder:
            keep = self.config.keep_checkpoints
            self._folder.save(self.learner.head, self._record(), state, keep=keep)

    def report(self, *, stopped: int | None) -> TrainReport:
        """Return the outcome; ``stopped`` is the exit code of a run that was asked to stop."""
        lines = self._log.lines if self._log else []
        return TrainReport(
            steps=self.step,
            resumed=self.resumed,
            loss=lines[-1].loss if lines else None,
            parameters=self.learner.parameters,
            seconds=time.perf_counter() - self._began,
            best=self._validator.best,
            stopped=None if self.ended else stopped,
            first=self._processes.first,
        )

    def __enter__(self) -> Self:
        if self._log and self._folder:
            if not self._left_alone:
                self._trackers.open(self._folder.path, self.config.to_json(), self.step)
            self._log.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the log, draw the curve and write the report, of an interrupted run too."""
        if self._folder is None or self._log is None:
            return
        with explained_disk_errors(self._folder.path, after=error):
            self._trackers.close(failed=error is not None)
            self._log.__exit__(kind, error, traceback)
            seen_before = self._left_alone and (self._folder.path / REPORT).exists()
            if self._pictured and not seen_before:
                seconds = time.perf_counter() - self._began
                resumable = self._folder.last_step() == self.step
                ending = Ending(self.step, self._finished, seconds, error, resumable)
                write_report(self._folder.path, ending, self._log.lines, self._validator)

    def _finish(self) -> None:
        if self._folder and not self._folder.finished:
            self._folder.finish(self.learner.head, self._record())
        self._finished = True

    def _restore(self) -> None:
        """Restore the state of the run in the folder."""
        earlier = self._processes.broadcast(self._earlier_state())
        self._finished = self._left_alone = earlier.finished
        if earlier.state is not None and earlier.weights is not None:
            self.learner.restore(earlier.weights, earlier.state["learner"])
            self.meter.restore(earlier.state["meter"])
        self.learner.step = self.resumed = earlier.step
        if self._log and self._folder:
            self._log.keep(earlier.step)
            self._validator.keep(self._folder.path, earlier.step)

    def _earlier_state(self) -> _EarlierState | None:
        if self._folder is None:
            return None
        self._folder.warn_of_damaged_best()
        if self._folder.finished:
            return _EarlierState(self._folder.finished_step(), finished=True)
        last = self._folder.latest(self.learner.head, self.config)
        if last is None:
            return _EarlierState(0, finished=False)
        step = int(last.state["learner"]["step"])
        return _EarlierState(step, finished=False, weights=last.weights, state=last.state)

    def _identity(self, start_from: Path | None) -> dict[str, Any]:
        """Return the settings and data by which ``run.json`` knows a run that is resumed."""
        data = {str(n): each.cache.fingerprint["dataset"] for n, each in enumerate(self._sources)}
        return {
            "config": self.config.to_json(),
            "data": {"backbones": self._backbones, "datasets": data},
            "start_from": None if start_from is None else str(start_from),
            "validation": self._validation.data if self._validation else None,
        }

    def _record(self) -> HeadRecord:
        training = {
            "step": self.step,
            "config": self.config.to_json(),
            "caches": [each.record for each in self._sources],
            "version": __version__,
        }
        if self._started_from is not None:
            training["started_from"] = self._started_from
        return HeadRecord(self.learner.head.config, self._backbones, training)

    @property
    def _backbones(self) -> dict[str, Any]:
        backbones: dict[str, Any] = self._sources[0].cache.fingerprint["backbones"]
        return backbones
