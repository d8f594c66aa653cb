"""What a sweep has tried and found, in Optuna's SQLite file."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import optuna
from optuna.trial import FrozenTrial, TrialState

from regionspot_core.errors import InputError
from regionspot_train.sweep.space import SearchConfig, Space

FILE = "study.db"
NAME = "sweep"
FIRST_BATCH = "first_batch"
GROUP = "group"
"""Which of the groups of heads, each with a read of its own, has it."""
REASON = "reason"
"""Why a trial failed, among its attributes."""


@dataclass(frozen=True)
class Trial:
    """One head of a sweep."""

    number: int
    values: dict[str, Any]
    """The settings it has of the space, by name."""
    first_batch: int
    """Where in the stream of batches it begins."""


class Asking(Protocol):
    """What a group of heads asks a study, wherever that is."""

    def begun(self, group: int, groups: int) -> list[Trial]: ...  # noqa: D102 - see Study
    def ask(self, first_batch: int, group: int) -> Trial | None: ...  # noqa: D102
    def report(self, number: int, value: float, step: int) -> bool: ...  # noqa: D102
    def finish(self, number: int, value: float) -> None: ...  # noqa: D102
    def prune(self, number: int) -> None: ...  # noqa: D102
    def fail(self, number: int, reason: str) -> None: ...  # noqa: D102


class Study:
    """Asks for heads to try, and is told how good they are.

    Args:
        folder: The sweep's; ``study.db`` is made in it, or gone on with. ``optuna-dashboard`` opens
            it.
        space: What is tried.
        total: How many heads are tried in all.

    Raises:
        InputError: The file is there and is no study.
    """

    def __init__(self, folder: Path, space: Space, total: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.space = space
        self.total = total
        try:
            storage = optuna.storages.RDBStorage(f"sqlite:///{folder / FILE}")
            self.optuna = optuna.create_study(
                study_name=NAME,
                storage=storage,
                direction="maximize",
                sampler=_sampler(space.search),
                pruner=_pruner(space.search),
                load_if_exists=True,
            )
        except Exception as error:  # SQLAlchemy's, Alembic's and SQLite's own, whatever is damaged
            raise InputError(f"{folder / FILE}: not a readable Optuna study ({error})") from None

    def begun(self, group: int = 0, groups: int = 1) -> list[Trial]:
        """Heads of a group, one of ``groups``, that were begun and did not end."""
        return [
            Trial(each.number, each.params, each.user_attrs[FIRST_BATCH])
            for each in self._trials(TrialState.RUNNING)
            if FIRST_BATCH in each.user_attrs and each.user_attrs[GROUP] % groups == group
        ]

    def drop_half_asked(self) -> None:
        """Give up what a killed call asked for and never began."""
        for each in self._trials(TrialState.RUNNING):
            if FIRST_BATCH not in each.user_attrs:
                self.fail(each.number, "killed before it began")

    def ended(self) -> int:
        """How many heads have ended, one way or another."""
        return sum(each.state.is_finished() for each in self._begun_trials())

    def best(self) -> float | None:
        """The best validation so far, of a head that ended or of one that did not."""
        found = [
            value
            for each in self.optuna.get_trials(deepcopy=False)
            for value in each.intermediate_values.values()
        ]
        return max(found, default=None)

    def ask(self, first_batch: int, group: int = 0) -> Trial | None:
        """The next head for a group to try, from ``first_batch`` on; None where all were begun."""
        if len(self._begun_trials()) >= self.total:
            return None
        trial = self.optuna.ask()
        values = self.space.suggest(trial)
        trial.set_user_attr(GROUP, group)
        trial.set_user_attr(FIRST_BATCH, first_batch)
        return Trial(trial.number, values, first_batch)

    def report(self, number: int, value: float, step: int) -> bool:
        """Take note of a validation; whether the head is to be given up."""
        trial = optuna.Trial(self.optuna, self._id(number))
        if step not in self._frozen(number).intermediate_values:
            trial.report(value, step)
        return trial.should_prune()

    def finish(self, number: int, value: float) -> None:
        """A head has learnt all its steps; ``value`` is its best validation's."""
        self.optuna.tell(number, value, skip_if_finished=True)

    def prune(self, number: int) -> None:
        """A head is given up, with its last validation as its value."""
        self.optuna.tell(number, state=TrialState.PRUNED, skip_if_finished=True)

    def fail(self, number: int, reason: str) -> None:
        """A head could not go on."""
        optuna.Trial(self.optuna, self._id(number)).set_user_attr(REASON, reason)
        self.optuna.tell(number, state=TrialState.FAIL, skip_if_finished=True)

    def trials(self) -> list[FrozenTrial]:
        """All that were asked for, the best first, those without a value last."""
        everything = self.optuna.get_trials(deepcopy=False)

        def rank(each: FrozenTrial) -> tuple[bool, float]:
            return (each.value is None, -(each.value or 0.0))

        return sorted(everything, key=rank)

    def _begun_trials(self) -> list[FrozenTrial]:
        return [t for t in self.optuna.get_trials(deepcopy=False) if FIRST_BATCH in t.user_attrs]

    def _trials(self, state: TrialState) -> Sequence[FrozenTrial]:
        return self.optuna.get_trials(deepcopy=False, states=(state,))

    def _frozen(self, number: int) -> FrozenTrial:
        return self.optuna.get_trials(deepcopy=False)[number]

    def _id(self, number: int) -> int:
        return self._frozen(number)._trial_id


def _sampler(search: SearchConfig) -> optuna.samplers.BaseSampler:
    if search.sampler == "random":
        return optuna.samplers.RandomSampler(seed=search.seed)
    with warnings.catch_warnings():
        # Heads are asked for several at a time, before the first has a value.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(seed=search.seed, constant_liar=True)


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
