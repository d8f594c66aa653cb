"""Content of a checkpoint's ``state.pt``, checked before anything is restored from it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Annotated, Any, TypeAlias

import torch
from pydantic import AfterValidator, Field

from regionspot_core.errors import CheckpointError
from regionspot_core.heads.head import Head
from regionspot_core.support.error_text import one_line
from regionspot_core.support.records import Record
from regionspot_core.support.weight_files import read_tensors, state_problems
from regionspot_train.config import TrainConfig
from regionspot_train.learning.optimiser import make_optimiser


def _number(value: torch.Tensor) -> torch.Tensor:
    if value.layout != torch.strided or value.is_meta or value.ndim or value.is_complex():
        raise ValueError(f"expected one number, got a tensor of shape {tuple(value.shape)}")
    return value


def _random_bytes(value: torch.Tensor) -> torch.Tensor:
    if value.dtype != torch.uint8 or value.ndim != 1:
        raise ValueError(f"expected bytes, got {value.dtype} of shape {tuple(value.shape)}")
    return value


def _cpu_random_bytes(value: torch.Tensor) -> torch.Tensor:
    try:
        torch.Generator().set_state(_random_bytes(value))
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"no state of PyTorch's random numbers ({error})") from None
    return value


Number: TypeAlias = Annotated[torch.Tensor, AfterValidator(_number)]


class _State(Record, arbitrary_types_allowed=True):
    pass


class _Moments(_State):
    """AdamW's state of a parameter."""

    step: Number
    exp_avg: torch.Tensor
    exp_avg_sq: torch.Tensor


class _Optimiser(_State):
    state: dict[int, _Moments]
    param_groups: list[dict[str, Any]]
    """Settings of the optimiser; not read, as they follow from the run's."""


class _Random(_State):
    cpu: Annotated[torch.Tensor, AfterValidator(_cpu_random_bytes)]
    cuda: Annotated[torch.Tensor, AfterValidator(_random_bytes)] | None = None


class _Scaler(_State):
    """float16's loss scale; empty in other precisions."""

    scale: float | None = Field(default=None, gt=0)
    growth_factor: float = Field(default=2.0, gt=0)
    backoff_factor: float = Field(default=0.5, gt=0)
    growth_interval: int = Field(default=2000, ge=1)
    growth_tracker: int = Field(default=0, ge=0, alias="_growth_tracker")


class _Learner(_State):
    step: int = Field(ge=0)
    optimiser: _Optimiser
    random: list[_Random] = Field(min_length=1)
    """States of the random numbers, by the rank of the process."""
    scaler: _Scaler
    learning: dict[str, torch.Tensor] | None = None
    """Weights of the head that learns; only of a run with a mean over the weights."""
    averaged: Number | None = None
    """Number of weights in that mean."""


class _Meter(_State):
    losses: list[Number]
    norms: list[Number]


class _CheckpointState(_State):
    learner: _Learner
    meter: _Meter


def read_state(
    content: bytes, *, step: int, head: Head | None, config: TrainConfig, source: str
) -> dict[str, Any]:
    """Read a checkpoint's state: ``learner`` and ``meter``, as they take it.

    Args:
        content: Content of the file.
        step: The checkpoint's step.
        head: A head of the run's shape, with its weights in memory or not. None for a user's class
            whose module is not to be imported: the state is then not compared with its weights.
        config: The run's settings.
        source: Name of the file in the message.

    Raises:
        CheckpointError: If it is no state, or another step's, head's or run's.
    """
    try:
        values: Any = read_tensors(io.BytesIO(content))
    except Exception as error:  # PyTorch's readers raise whatever a broken file leads them to
        raise CheckpointError(f"{source}: not a checkpoint's state ({one_line(error)})") from None
    learner = _CheckpointState.parse(values, source=source, error=CheckpointError).learner
    problems = [] if learner.step == step else [f"step {learner.step}, expected {step}"]
    if head is not None:
        problems += _moment_problems(learner.optimiser, make_optimiser(head, config.optimiser))
    if config.precision == "float16" and learner.scaler.scale is None:
        problems.append("missing the loss scale")
    if config.optimiser.ema is not None:
        if learner.averaged is None:
            problems.append("missing the count of averaged weights")
        if head is not None:
            problems += state_problems(learner.learning or {}, head.state_dict())
    if problems:
        raise CheckpointError(f"{source}: not this run's state ({'; '.join(problems[:4])})")
    state: dict[str, Any] = values
    return state


def _moment_problems(state: _Optimiser, fresh: torch.optim.Optimizer) -> list[str]:
    """Return a phrase for each part of an optimiser's state that does not fit its parameters."""
    parameters: Sequence[torch.Tensor] = [
        parameter for group in fresh.param_groups for parameter in group["params"]
    ]
    problems = []
    for place, moments in state.state.items():
        if not 0 <= place < len(parameters):
            problems.append(f"the optimiser has a parameter {place} of {len(parameters)}")
            continue
        shape = parameters[place].shape
        for name in ("exp_avg", "exp_avg_sq"):
            value: torch.Tensor = getattr(moments, name)
            if value.shape != shape or value.dtype != torch.float32 or value.is_meta:
                problems.append(
                    f"{name} of parameter {place} is {value.dtype} {tuple(value.shape)}, expected "
                    f"{tuple(shape)}"
                )
    return problems
