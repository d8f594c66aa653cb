"""Heads that a sweep has tried, and their validations, in Optuna's SQLite file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from regionspot_core.errors import CheckpointError
from regionspot_train.sweep.sampler import SettingsSampler
from regionspot_train.sweep.space import SearchConfig, Space
from regionspot_train.sweep.study_file import FIRST_BATCH, GROUP, REASON, open_study, reason_of

FILE = "study.db"


@dataclass(frozen=True)
class Trial:
    """One head of a sweep."""

    number: int
    values: dict[str, Any]
    """The settings it has of the space, by name."""
    first_batch: int
    """Batch of the stream that it begins with."""


class StudyClient(Protocol):
    """A study as a group of heads uses it, in this process or another."""

    def begun(self, group: int, groups: int) -> list[Trial]: ...  # noqa: D102 - see Study
    def next_begins(self, group: int, groups: int, count: int) -> int: ...  # noqa: D102
    def ask(self, first_batch: int, group: int) -> Trial | None: ...  # noqa: D102
    def report(self, number: int, value: float, step: int) -> bool: ...  # noqa: D102
    def finish(self, number: int, value: float) -> None: ...  # noqa: D102
    def prune(self, number: int) -> None: ...  # noqa: D102
    def fail(self, number: int, reason: str) -> None: ...  # noqa: D102


class Study:
    """Chooses heads to try, and records how good they are.

    Args:
        folder: The sweep's folder; ``study.db`` is made in it, or gone on with.
            ``optuna-dashboard`` opens it.
        space: The settings to try.
        total: Number of heads to try in all.

    Raises:
        InputError: If the file is there and is damaged, another program's, or of another sweep.
    """

    def __init__(self, folder: Path, space: Space, total: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.space = space
        self.total = total
        self.path = folder / FILE
        self.optuna = open_study(
            self.path,
            space,
            sampler=SettingsSampler(space, self._all_trials),
            pruner=_pruner(space.search),
        )

    def begun(self, group: int = 0, groups: int = 1) -> list[Trial]:
        """Return the heads of a group, one of ``groups``, that were begun and did not end."""
        return [
            Trial(each.number, each.params, each.user_attrs[FIRST_BATCH])
            for each in self._begun_trials()
            if each.state == TrialState.RUNNING and each.user_attrs[GROUP] % groups == group
        ]

    def next_begins(self, group: int, groups: int, count: int) -> int:
        """Return the batch that the next head of a group begins with; ``count`` learn at one time.

        It follows the last batch of a head that ended, so that a sweep which was killed, or is
        extended, goes on like one that was not.
        """
        own = [each for each in self._begun_trials() if each.user_attrs[GROUP] % groups == group]
        ends = sorted(
            each.user_attrs[FIRST_BATCH] + max(each.intermediate_values, default=0)
            for each in own
            if each.state.is_finished()
        )
        followed = len(own) - count
        return ends[followed] if 0 <= followed < len(ends) else 0

    def ended(self) -> int:
        """Return the number of heads that have ended: finished, pruned or failed."""
        return sum(each.state.is_finished() for each in self._begun_trials())

    def best(self) -> float | None:
        """Return the best validation so far, of any head; None before the first."""
        values = [
            value for each in self._all_trials() for value in each.intermediate_values.values()
        ]
        return max(values, default=None)

    def ask(self, first_batch: int, group: int = 0) -> Trial | None:
        """Return the next head for a group, from ``first_batch`` on; None if all were begun."""
        if len(self._begun_trials()) >= self.total:
            return None
        with self._explained_errors():
            trial = self._half_asked() or self.optuna.ask()
            values = self.space.suggest(trial)
            trial.set_user_attr(GROUP, group)
            trial.set_user_attr(FIRST_BATCH, first_batch)
        return Trial(trial.number, values, first_batch)

    def report(self, number: int, value: float, step: int) -> bool:
        """Record a validation, and return whether the head is to be given up."""
        with self._explained_errors():
            trial = optuna.Trial(self.optuna, self._id(number))
            if step not in self._frozen(number).intermediate_values:
                trial.report(value, step)
            return trial.should_prune()

    def finish(self, number: int, value: float) -> None:
        """Record that a head took all its steps; ``value`` is its best validation's."""
        with self._explained_errors():
            self.optuna.tell(number, value, skip_if_finished=True)

    def prune(self, number: int) -> None:
        """Record that a head is given up, with its last validation as its value."""
        with self._explained_errors():
            self.optuna.tell(number, state=TrialState.PRUNED, skip_if_finished=True)

    def fail(self, number: int, reason: str) -> None:
        """Record that a head could not go on."""
        with self._explained_errors():
            optuna.Trial(self.optuna, self._id(number)).set_user_attr(REASON, reason)
            self.optuna.tell(number, state=TrialState.FAIL, skip_if_finished=True)

    def trials(self) -> list[FrozenTrial]:
        """Return all heads that were begun, the best first, heads without a value last."""

        def rank(each: FrozenTrial) -> tuple[bool, float]:
            return (each.value is None, -(each.value or 0.0))

        return sorted(self._begun_trials(), key=rank)

    def _half_asked(self) -> optuna.Trial | None:
        """Return the trial that a killed call asked for and did not begin; None if there is none.

        Its number, and so its setting, is next.
        """
        for each in self._all_trials():
            if each.state == TrialState.RUNNING and FIRST_BATCH not in each.user_attrs:
                return optuna.Trial(self.optuna, each._trial_id)
        return None

    def _begun_trials(self) -> list[FrozenTrial]:
        return [each for each in self._all_trials() if FIRST_BATCH in each.user_attrs]

    def _all_trials(self) -> list[FrozenTrial]:
        with self._explained_errors():
            return self.optuna.get_trials(deepcopy=False)

    def _frozen(self, number: int) -> FrozenTrial:
        return self._all_trials()[number]

    def _id(self, number: int) -> int:
        return self._frozen(number)._trial_id

    @contextmanager
    def _explained_errors(self) -> Iterator[None]:
        """Raise a database's error of a full or lost disk as one sentence.

        Raises:
            CheckpointError: If the study cannot be read or written.
        """
        try:
            yield
        except (optuna.exceptions.StorageInternalError, SQLAlchemyError) as error:
            raise CheckpointError(
                f"{self.path}: the study cannot be written ({reason_of(error)}); see to the disk, "
                f"and the same command with --resume goes on"
            ) from error


def _pruner(search: SearchConfig) -> optuna.pruners.BasePruner:
    if search.pruner == "median":
        return optuna.pruners.MedianPruner(
            n_startup_trials=search.pruner_startup, n_warmup_steps=search.pruner_warmup
        )
    if search.pruner == "halving":
        return optuna.pruners.SuccessiveHalvingPruner()
    if search.pruner == "hyperband":
        return optuna.pruners.HyperbandPruner()
    return optuna.pruners.NopPruner()
