"""Choice of a sweep's next head, by the seed and its number alone: a kill does not change it."""

from __future__ import annotations

import random
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from regionspot_train.sweep.space import SearchConfig, Space


class SettingsSampler(BaseSampler):
    """Optuna's sampler, made anew for each head, so that it has no state that a kill could lose.

    Where the space has finitely many settings, none is tried again before all were tried.

    Args:
        space: The settings to try, and the name of Optuna's sampler.
        trials: Returns all trials of the study; a pruner may show a sampler only some.
    """

    def __init__(self, space: Space, trials: Callable[[], Sequence[FrozenTrial]]) -> None:
        self._space = space
        self._trials = trials

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return all settings: they are chosen together."""
        return self._space.distributions()

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return a value for each setting of a head."""
        sampler = _sampler(self._space.search, trial.number)
        known = sampler.infer_relative_search_space(study, trial)
        setting = sampler.sample_relative(study, trial, known)
        for key, distribution in search_space.items():
            if key not in setting:
                setting[key] = sampler.sample_independent(study, trial, key, distribution)
        return self._not_a_repeat(setting, trial.number)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:  # noqa: ANN401 - any of a space's values
        """Return a value for one setting. Optuna asks for none: all are chosen together."""
        sampler = _sampler(self._space.search, trial.number)
        return sampler.sample_independent(study, trial, param_name, param_distribution)

    def _not_a_repeat(self, setting: dict[str, Any], number: int) -> dict[str, Any]:
        """Return the setting, or another where it was tried more often than others were."""
        size = self._space.size
        if size is None:
            return setting
        tried = Counter(
            self._space.number(each.params)
            for each in self._trials()
            if each.number != number and self._space.space.keys() <= each.params.keys()
        )
        rounds = tried.total() // size
        place = self._space.number(setting)
        if tried[place] > rounds:
            place = random.Random(f"{self._space.search.seed}-{number}").randrange(size)
        while tried[place] > rounds:  # some setting was tried no more often than that
            place = (place + 1) % size
        return self._space.setting(place)


def _sampler(search: SearchConfig, number: int) -> BaseSampler:
    """Return Optuna's sampler for one head."""
    seed = int(np.random.SeedSequence([search.seed, number]).generate_state(1)[0])
    if search.sampler == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    with warnings.catch_warnings():
        # Heads are asked for several at a time, before the first has a value.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(seed=seed, constant_liar=True)
