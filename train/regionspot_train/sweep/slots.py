"""The heads of a sweep that learn at one time, each in a place of its own."""

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
from regionspot_train.learning.lockstep import Lockstep
from regionspot_train.learning.validation import ValidationSet
from regionspot_train.record.folder import CHECKPOINTS
from regionspot_train.sweep.study import Asking, Trial
from regionspot_train.training_run import TrainingRun

TRIALS = "trials"


@dataclass
class Place:
    """A head that learns."""

    trial: Trial
    run: TrainingRun
    log: ExitStack
    """Closes the run's log."""

    @property
    def position(self) -> int:
        """The batch it needs next."""
        return self.trial.first_batch + self.run.step


class Places:
    """Heads that take their steps together; one that ends or is given up makes room for another.

    Args:
        count: How many learn at one time.
        group: Which of ``groups`` groups of heads these are.
        groups: Each has a read of its own.
        study: Says what to try, and what to give up.
        open_run: Makes the training run of a trial, in the trial's folder.
        lockstep: How they learn.
        validation: What says how good they are.
    """

    def __init__(
        self,
        *,
        count: int,
        group: int,
        groups: int,
        study: Asking,
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
        self._places: list[Place] = []
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
        for place in self._places:
            place.log.close()

    def position(self, start: int) -> int:
        """The first batch that a head needs; ``start`` or later where none is learning."""
        return min(
            (place.position for place in self._places), default=max(start, self._next_begins())
        )

    def fill(self, position: int) -> bool:
        """Begin new heads at the batch ``position`` where there is room; whether any learns."""
        while (
            len(self._places) < self._count
            and not self._all_begun
            and position >= self._next_begins()
        ):
            trial = self._study.ask(position, self._group)
            self._all_begun = trial is None
            if trial is not None:
                self._begin(trial)
        return bool(self._places)

    def _next_begins(self) -> int:
        return self._study.next_begins(self._group, self._groups, self._count)

    def learn(self, position: int, batch: TrainBatch) -> None:
        """Give the batch at ``position`` to the heads that need it next, and look how they do."""
        reach("sweep step", position)
        due = [place for place in self._places if place.position == position]
        results = self._lockstep.learn([place.run.learner for place in due], batch)
        learnt = []
        for place, result in zip(due, results, strict=True):
            if isinstance(result, Exception):
                self._fail(place, str(result))
            else:
                place.run.count(result, batch)
                learnt.append(place)
        figures = self._validate([place for place in learnt if place.run.validation_is_due])
        for place in learnt:
            self._after_step(place, figures.get(place.trial.number))

    def _validate(self, due: list[Place]) -> dict[int, float]:
        """Each head's figure by the number of its trial; the validation store is read once."""
        if not due:
            return {}
        runs = [place.run for place in due]
        found = self._validation.measure([run.learner.head for run in runs], [r.step for r in runs])
        return {
            place.trial.number: place.run.validated(each)
            for place, each in zip(due, found, strict=True)
        }

    def checkpoint(self) -> None:
        """Write a checkpoint of every head."""
        for place in self._places:
            place.run.checkpoint()

    def _begin(self, trial: Trial) -> None:
        log = ExitStack()
        try:
            run = log.enter_context(self._open_run(trial))
        except ConfigError as error:  # a full disk, say, is not the head's fault
            self._study.fail(trial.number, str(error))
            self.ended += 1
            return
        place = Place(trial, run, log)
        self._places.append(place)
        if run.ended:  # and was killed before the study was told
            self._finish(place)

    def _after_step(self, place: Place, value: float | None) -> None:
        run = place.run
        given_up = value is not None and self._study.report(place.trial.number, value, run.step)
        if given_up and not run.ended:
            self._study.prune(place.trial.number)
            self._leave(place)
            return
        run.write()
        if run.ended:
            self._finish(place)

    def _finish(self, place: Place) -> None:
        self._study.finish(place.trial.number, place.run.best_figure)
        self._leave(place)

    def _fail(self, place: Place, reason: str) -> None:
        self._study.fail(place.trial.number, reason)
        self._leave(place)

    def _leave(self, place: Place) -> None:
        place.log.close()
        self._places.remove(place)
        self.ended += 1
        remove_checkpoints(place.run.out)


def remove_checkpoints(head: Path) -> None:
    """Remove those of a head that has ended: hundreds of heads' optimisers would fill the disk."""
    shutil.rmtree(head / CHECKPOINTS, ignore_errors=True)


def trial_folder(out: Path, number: int) -> Path:
    """Where a head of a sweep is."""
    return out / TRIALS / f"{number:04d}"
