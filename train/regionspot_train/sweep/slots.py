"""The heads of a sweep that learn at one time, each in a slot of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from regionspot_core.errors import ConfigError
from regionspot_core.support.fault_points import reach
from regionspot_train.data.loader import TrainBatch
from regionspot_train.learning.learner import StepFailure
from regionspot_train.learning.lockstep import Lockstep
from regionspot_train.learning.validation import ValidationSet
from regionspot_train.record.folder import CHECKPOINTS
from regionspot_train.sweep.study import StudyClient, Trial
from regionspot_train.training_run import TrainingRun

TRIALS = "trials"


@dataclass
class TrialSlot:
    """A trial whose head is learning."""

    trial: Trial
    run: TrainingRun
    log: ExitStack
    """Closes the run's log."""

    @property
    def position(self) -> int:
        """The batch that the head needs next."""
        return self.trial.first_batch + self.run.step


class TrialSlots:
    """Slots for heads that take their steps together; one that ends makes room for another.

    Args:
        count: The number of heads that learn at one time.
        group: The number of this group of heads.
        groups: The number of groups; each has a read of its own.
        study: Decides what to try and what to give up.
        open_run: Makes the training run of a trial, in the trial's folder.
        lockstep: Gives all heads a batch.
        validation: Measures how good a head is.
    """

    def __init__(
        self,
        *,
        count: int,
        group: int,
        groups: int,
        study: StudyClient,
        open_run: Callable[[Trial], TrainingRun],
        lockstep: Lockstep,
        validation: ValidationSet,
    ) -> None:
        self._count = count
        self._group = group
        self._groups = groups
        self._study = study
        self._open_run = open_run
        self._lockstep = lockstep
        self._validation = validation
        self._slots: list[TrialSlot] = []
        self._all_begun = False
        self.ended = 0
        """Heads that have ended here, one way or another."""

    def __enter__(self) -> Self:
        """Take up again what an earlier call began."""
        for trial in self._study.begun(self._group, self._groups):
            self._begin(trial)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for slot in self._slots:
            slot.log.close()

    def position(self, start: int) -> int:
        """Return the first batch that a head needs; ``start`` or later where none is learning."""
        return min((slot.position for slot in self._slots), default=max(start, self._next_begins()))

    def fill(self, position: int) -> bool:
        """Begin new heads at a batch where there is room, and return whether any head learns."""
        while (
            len(self._slots) < self._count
            and not self._all_begun
            and position >= self._next_begins()
        ):
            trial = self._study.ask(position, self._group)
            self._all_begun = trial is None
            if trial is not None:
                self._begin(trial)
        return bool(self._slots)

    def _next_begins(self) -> int:
        return self._study.next_begins(self._group, self._groups, self._count)

    def learn(self, position: int, batch: TrainBatch) -> None:
        """Give the batch at ``position`` to the heads that need it next, and validate those due."""
        reach("sweep step", position)
        due = [slot for slot in self._slots if slot.position == position]
        results = self._lockstep.learn([slot.run.learner for slot in due], batch)
        learnt = []
        for slot, result in zip(due, results, strict=True):
            if isinstance(result, StepFailure):
                self._fail(slot, result.reason)
            else:
                slot.run.record_step(result, batch)
                learnt.append(slot)
        figures = self._validate([slot for slot in learnt if slot.run.validation_is_due])
        for slot in learnt:
            self._after_step(slot, figures.get(slot.trial.number))

    def _validate(self, due: list[TrialSlot]) -> dict[int, float]:
        """Measure heads in one read of the validation store; return figures by trial number."""
        if not due:
            return {}
        runs = [slot.run for slot in due]
        heads, steps = [run.learner.head for run in runs], [run.step for run in runs]
        accuracies = self._validation.measure(heads, steps)
        return {
            slot.trial.number: slot.run.record_validation(accuracy)
            for slot, accuracy in zip(due, accuracies, strict=True)
        }

    def checkpoint(self) -> None:
        """Write a checkpoint of every head."""
        for slot in self._slots:
            slot.run.checkpoint()

    def _begin(self, trial: Trial) -> None:
        log = ExitStack()
        try:
            run = log.enter_context(self._open_run(trial))
        except ConfigError as error:  # a full disk, say, is not the head's fault
            self._study.fail(trial.number, str(error))
            self.ended += 1
            return
        slot = TrialSlot(trial, run, log)
        self._slots.append(slot)
        if run.ended:  # and was killed before the study was told
            self._finish(slot)

    def _after_step(self, slot: TrialSlot, value: float | None) -> None:
        run = slot.run
        given_up = value is not None and self._study.report(slot.trial.number, value, run.step)
        if given_up and not run.ended:
            self._study.prune(slot.trial.number)
            self._leave(slot)
            return
        run.write()
        if run.ended:
            self._finish(slot)

    def _finish(self, slot: TrialSlot) -> None:
        self._study.finish(slot.trial.number, slot.run.best_figure)
        self._leave(slot)

    def _fail(self, slot: TrialSlot, reason: str) -> None:
        self._study.fail(slot.trial.number, reason)
        self._leave(slot)

    def _leave(self, slot: TrialSlot) -> None:
        slot.log.close()
        self._slots.remove(slot)
        self.ended += 1
        remove_checkpoints(slot.run.out)


def remove_checkpoints(head: Path) -> None:
    """Remove the checkpoints of a head that has ended: hundreds would fill the disk."""
    shutil.rmtree(head / CHECKPOINTS, ignore_errors=True)


def trial_folder(out: Path, number: int) -> Path:
    """Return the folder of a head of a sweep."""
    return out / TRIALS / f"{number:04d}"
