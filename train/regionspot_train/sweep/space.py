"""Space of a sweep: a TOML file of settings and the values they may have.

[search]
sampler = "tpe"          # or "random"
pruner = "median"        # or "none", "halving", "hyperband"

[space]
"optimiser.lr" = { low = 1e-4, high = 1e-2, log = true }
"head.layers" = { low = 1, high = 4 }
"loss.kind" = ["focal", "softmax"]
"""

from __future__ import annotations

from decimal import Decimal
from math import prod
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from regionspot_core.config import Config
from regionspot_core.errors import ConfigError
from regionspot_core.heads.shape import BUILT_IN
from regionspot_train.config import MOST_SEED, TrainConfig

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.distributions import BaseDistribution

SWEPT = ("head.", "loss.", "optimiser.")
"""Tables of the settings that may differ between heads; all others decide which batches come, and
heads of a sweep share those."""
SWEPT_ALONE = ("seed", "steps")
"""Settings of no table that may differ too."""
OWN_OPTIONS = "head.options."
"""Beginning of the settings that a class of the user's has."""

Choice = bool | int | float | str
MOST_WHOLE, MOST = 2**53, 1e30
"""Largest numbers of a span. Optuna keeps floats, which are exact for integers up to 2⁵³."""
MOST_CHOICES = 1_000
MOST_STEPS = 10**9
"""Most values of a span with a step: Optuna computes them in decimals of that many digits."""


class SweepSize(Config):
    """Number of heads that a sweep tries, and of those that learn at one time."""

    trials: int = Field(ge=1, le=100_000)
    at_once: int = Field(ge=1, le=1_024)
    ray_groups: int | None = Field(default=None, ge=1, le=1_024)


class Span(Config):
    """Numbers from ``low`` to ``high``, both included; whole ones where both are."""

    low: int | float
    high: int | float
    log: bool = False
    """Whether small numbers are tried as often as large ones, decade by decade."""
    step: int | float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _numbers_are_kept(self) -> Span:
        for number in (self.low, self.high, self.step or 0):
            most = MOST_WHOLE if isinstance(number, int) else MOST
            if abs(number) > most:
                raise ValueError(f"expected numbers from -{most} to {most}, got {number}")
        return self

    @model_validator(mode="after")
    def _rises(self) -> Span:
        if self.low >= self.high:
            raise ValueError(f"low must be below high, got {self.low} and {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"a log span needs low above 0, got {self.low}")
        return self

    @model_validator(mode="after")
    def _steps_fit(self) -> Span:
        if self.step is None:
            return self
        if self.log:
            raise ValueError("a span is either log or has a step, not both")
        if self.whole and not isinstance(self.step, int):
            raise ValueError(
                f"a span of whole numbers needs a whole step, got {self.step}; write low as "
                f"{float(self.low)} if others are meant"
            )
        if not 1 <= (self.high - self.low) / self.step <= MOST_STEPS:
            raise ValueError(
                f"expected a step that leads from low to high in 1 … {MOST_STEPS:,} steps, got "
                f"{self.step} for {self.low} to {self.high}"
            )
        return self

    @property
    def whole(self) -> bool:
        """Whether its values are integers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def count(self) -> int | None:
        """Number of its values; None: floats without a step."""
        if self.whole:
            return int(self.high - self.low) // int(self.step or 1) + 1
        if self.step is None:
            return None
        return int((_exact(self.high) - _exact(self.low)) // _exact(self.step)) + 1

    def value(self, place: int) -> int | float:
        """Return the value at a place, counted from 0, of a span that has a count."""
        step = 1 if self.step is None else self.step
        return min(self.low + place * step, self.last)  # 3 × 0.1 is a bit more than 0.3

    def place(self, value: float) -> int:
        """Return the place of a value, or of the nearest one."""
        return round((value - self.low) / (self.step or 1))

    @property
    def last(self) -> int | float:
        """Highest value: ``high``, or the end of its last step."""
        if self.step is None or self.count is None:
            return self.high
        if self.whole:
            return self.low + (self.count - 1) * self.step
        return float(_exact(self.low) + (self.count - 1) * _exact(self.step))

    def distribution(self) -> BaseDistribution:
        """Return the span as Optuna's distribution."""
        from optuna.distributions import FloatDistribution, IntDistribution

        if self.whole:
            return IntDistribution(int(self.low), int(self.last), self.log, int(self.step or 1))
        return FloatDistribution(float(self.low), float(self.last), self.log, self.step)


def _exact(number: float) -> Decimal:
    """Return the number as it was written."""
    return Decimal(str(number))


class SearchConfig(Config):
    """Optuna's choice of heads to try, and of those to give up early."""

    sampler: Literal["tpe", "random"] = "tpe"
    """Sampler of Optuna's: tree-structured Parzen estimators, or random."""
    pruner: Literal["none", "median", "halving", "hyperband"] = "median"
    """Pruner of Optuna's, which may give a head up after each validation."""
    pruner_startup: int = Field(default=5, ge=0)
    """Number of first heads that ``median`` does not prune."""
    pruner_warmup: int = Field(default=0, ge=0)
    """Steps of each head before ``median`` may prune it."""
    seed: int = Field(default=0, ge=0, le=MOST_SEED)


class Space(Config):
    """A sweep's file."""

    search: SearchConfig = SearchConfig()
    space: dict[str, Span | list[Choice]] = Field(min_length=1, max_length=100)
    """Settings by name, ``optimiser.lr`` say: a span, or a list of choices."""

    @model_validator(mode="after")
    def _may_differ(self) -> Space:
        for key, values in self.space.items():
            if not (key.startswith(SWEPT) or key in SWEPT_ALONE):
                raise ValueError(
                    f"{key}: heads of a sweep share their batches, so only head.*, loss.*, "
                    f"optimiser.*, seed and steps may differ; set it for all by --set"
                )
            if isinstance(values, list) and not values:
                raise ValueError(f"{key}: expected at least one choice, got an empty list")
            if isinstance(values, list) and len(values) > MOST_CHOICES:
                raise ValueError(
                    f"{key}: expected at most {MOST_CHOICES:,} choices, got {len(values):,}; a "
                    f"span {{ low, high }} has more"
                )
            if isinstance(values, list) and len(set(values)) < len(values):
                raise ValueError(f"{key}: expected each choice once, got {values}")
        return self

    @property
    def size(self) -> int | None:
        """Number of different settings; None if a span is of floats without a step."""
        counts = [_count(values) for values in self.space.values()]
        return None if None in counts else prod(count for count in counts if count is not None)

    def setting(self, number: int) -> dict[str, Any]:
        """Return one of the ``size`` settings, counted from 0."""
        chosen = {}
        for key, values in self.space.items():
            count = _count(values)
            assert count is not None
            number, place = divmod(number, count)
            chosen[key] = values[place] if isinstance(values, list) else values.value(place)
        return chosen

    def number(self, setting: dict[str, Any]) -> int:
        """Return the number of one of the ``size`` settings: the inverse of :meth:`setting`."""
        number, times = 0, 1
        for key, values in self.space.items():
            count, value = _count(values), setting[key]
            assert count is not None
            place = values.index(value) if isinstance(values, list) else values.place(value)
            number += place * times
            times *= count
        return number

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """Let Optuna choose a value for each setting of a head."""
        return {key: _suggest(trial, key, values) for key, values in self.space.items()}

    def distributions(self) -> dict[str, BaseDistribution]:
        """Return the settings as Optuna's distributions."""
        from optuna.distributions import CategoricalDistribution

        return {
            key: CategoricalDistribution(values)
            if isinstance(values, list)
            else values.distribution()
            for key, values in self.space.items()
        }

    def require_allowed(self, config: TrainConfig) -> None:
        """Refuse a space with a value that the configuration does not take.

        Raises:
            ConfigError: Naming the setting and the value, or the class of the head where that
                cannot be imported.
        """
        if config.head.kind != BUILT_IN:
            from regionspot_core.heads.registry import head_kind

            head_kind(config.head.kind).needs(config.head)
        for key, values in self.space.items():
            ends = values if isinstance(values, list) else [values.low, values.high]
            for value in ends:
                _require_allowed(config, key, value)


def _suggest(trial: Trial, key: str, values: Span | list[Choice]) -> Choice:
    if isinstance(values, list):
        chosen: Choice = trial.suggest_categorical(key, list[Any](values))
        return chosen
    low, high = values.low, values.last
    if values.whole:
        step = int(values.step or 1)
        return trial.suggest_int(key, int(low), int(high), step=step, log=values.log)
    return trial.suggest_float(key, low, high, step=values.step, log=values.log)


def _count(values: Span | list[Choice]) -> int | None:
    return len(values) if isinstance(values, list) else values.count


def _require_allowed(config: TrainConfig, key: str, value: Choice) -> None:
    own = key.startswith(OWN_OPTIONS)
    try:
        changed = config.with_values({key: value})
        if own:
            from regionspot_core.heads.registry import head_kind

            head_kind(changed.head.kind).shape(changed.head, {})
    except ConfigError as error:
        # Only the key itself is looked at: another key of the space may make up for the rest.
        name = key.removeprefix(OWN_OPTIONS) if own else key
        if "unknown key" in str(error) or f"{name}:" in str(error):
            raise
