"""The heads of a sweep that learn at one time, each in a place of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from regionspot_core.errors import RegionSpotError
from regionspot_train.loader import TrainBatch
from regionspot_train.lockstep import Lockstep
from regionspot_train.run_folder import CHECKPOINTS
from regionspot_train.sweep.study import Study, Trial
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
        total: How many are tried in all.
        study: Says what to try, and what to give up.
        open_run: Makes the training run of a trial, in the trial's folder.
        lockstep: How they learn.
    """

    def __init__(
        self,
        *,
        count: int,
        total: int,
        study: Study,
        open_run: Callable[[Trial], TrainingRun],
        lockstep: Lockstep,
    ) -> None:
        self._count = count
        self._total = total
        self._study = study
        self._open_run = open_run
        self._lockstep = lockstep
        self._places: list[Place] = []
        self._begun = 0
        self._best: float | None = None

    def __enter__(self) -> Self:
        """Take up again what an earlier call began."""
        self._study.drop_half_asked()
        self._begun = self._study.asked
        self._best = self._study.best
        for trial in self._study.begun():
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

    @property
    def ended(self) -> int:
        """How many heads have ended, one way or another."""
        return self._begun - len(self._places)

    @property
    def note(self) -> str:
        """What a progress line says of the heads that learn."""
        words = [f"{len(self._places)} learning"]
        if self._best is not None:
            words.append(f"best {self._best:.2%}")
        return ", ".join(words)

    def position(self, start: int) -> int:
        """The first batch that a head needs; ``start`` where none is learning."""
        return min((place.position for place in self._places), default=start)

    def fill(self, position: int) -> bool:
        """Begin new heads at the batch ``position`` where there is room; whether any learns."""
        while len(self._places) < self._count and self._begun < self._total:
            self._begun += 1
            self._begin(self._study.ask(position))
        return bool(self._places)

    def learn(self, position: int, batch: TrainBatch) -> None:
        """Give the batch at ``position`` to the heads that need it next, and look how they do."""
        due = [place for place in self._places if place.position == position]
        results = self._lockstep.learn([place.run.learner for place in due], batch)
        for place, result in zip(due, results, strict=True):
            if isinstance(result, Exception):
                self._fail(place, str(result))
            else:
                place.run.count(result, batch)
                self._after_step(place)

    def checkpoint(self) -> None:
        """Write a checkpoint of every head."""
        for place in self._places:
            place.run.checkpoint()

    def _begin(self, trial: Trial) -> None:
        log = ExitStack()
        try:
            run = log.enter_context(self._open_run(trial))
        except RegionSpotError as error:
            self._study.fail(trial.number, str(error))
            return
        place = Place(trial, run, log)
        self._places.append(place)
        if run.ended:  # and was killed before the study was told
            self._finish(place)

    def _after_step(self, place: Place) -> None:
        run = place.run
        value = run.look()
        if value is not None:
            self._best = value if self._best is None else max(self._best, value)
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
        # Nobody goes on with it, and hundreds of heads' optimisers would fill the disk.
        shutil.rmtree(place.run.out / CHECKPOINTS, ignore_errors=True)


def trial_folder(out: Path, number: int) -> Path:
    """Where a head of a sweep is."""
    return out / TRIALS / f"{number:04d}"
