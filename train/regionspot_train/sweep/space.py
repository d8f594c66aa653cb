"""What a sweep tries: a TOML file of settings and the values they may have.

[search]
sampler = "tpe"          # or "random"
pruner = "median"        # or "none", "halving", "hyperband"

[space]
"optimiser.lr" = { low = 1e-4, high = 1e-2, log = true }
"head.layers" = { low = 1, high = 4 }
"loss.kind" = ["focal", "softmax"]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from regionspot_core.config import Config
from regionspot_core.errors import ConfigError
from regionspot_train.config import TrainConfig

if TYPE_CHECKING:
    from optuna import Trial

SWEPT = ("head.", "loss.", "optimiser.")
"""What the settings that may differ between heads begin with: all others decide which batches come,
and heads of a sweep share those."""
SWEPT_ALONE = ("seed", "steps")
"""Settings of no table that may differ too."""

Choice = bool | int | float | str


class Span(Config):
    """Numbers from ``low`` to ``high``, both included; whole ones where both are."""

    low: int | float
    high: int | float
    log: bool = False
    """Whether small numbers are tried as often as large ones, decade by decade."""
    step: int | float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _rises(self) -> Span:
        if self.low >= self.high:
            raise ValueError(f"low must be below high, got {self.low} and {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"a log span needs low above 0, got {self.low}")
        if self.log and self.step is not None:
            raise ValueError("a span is either log or has a step, not both")
        return self

    @property
    def whole(self) -> bool:
        """Whether it is of integers."""
        return isinstance(self.low, int) and isinstance(self.high, int)


class SearchConfig(Config):
    """Who chooses what is tried next, and what is given up early."""

    sampler: Literal["tpe", "random"] = "tpe"
    """Optuna's: tree-structured Parzen estimators, or by chance."""
    pruner: Literal["none", "median", "halving", "hyperband"] = "median"
    """Optuna's, asked after each validation."""
    pruner_startup: int = Field(5, ge=0)
    """Of ``median``: heads that are not pruned, to begin with."""
    pruner_warmup: int = Field(0, ge=0)
    """Of ``median``: steps of each head before it may be pruned."""
    seed: int = Field(0, ge=0)


class Space(Config):
    """A sweep's file."""

    search: SearchConfig = SearchConfig()
    space: dict[str, Span | list[Choice]] = Field(min_length=1)
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
        return self

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """One value for each setting."""
        return {key: _suggest(trial, key, values) for key, values in self.space.items()}

    def require_allowed(self, config: TrainConfig) -> None:
        """Refuse a space with a value that the configuration does not take.

        Raises:
            ConfigError: Naming the setting and the value.
        """
        for key, values in self.space.items():
            ends = values if isinstance(values, list) else [values.low, values.high]
            for value in ends:
                _require_allowed(config, key, value)


def _suggest(trial: Trial, key: str, values: Span | list[Choice]) -> Choice:
    if isinstance(values, list):
        chosen: Choice = trial.suggest_categorical(key, list[Any](values))
        return chosen
    if values.whole:
        step = int(values.step or 1)
        return trial.suggest_int(key, int(values.low), int(values.high), step=step, log=values.log)
    return trial.suggest_float(key, values.low, values.high, step=values.step, log=values.log)


def _require_allowed(config: TrainConfig, key: str, value: Choice) -> None:
    try:
        config.with_values({key: value})
    except ConfigError as error:
        # Only the key itself is looked at: another key of the space may make up for the rest.
        if "unknown key" in str(error) or f"{key}:" in str(error):
            raise
