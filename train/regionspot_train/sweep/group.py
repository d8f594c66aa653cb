"""A group of heads that learn from one read of the caches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch

from regionspot_core.cache.location import Location
from regionspot_core.errors import ConfigError
from regionspot_train.config import TrainConfig
from regionspot_train.data.loader import FeatureLoader
from regionspot_train.data.sources import Source, open_sources
from regionspot_train.learning.lockstep import Lockstep
from regionspot_train.learning.validation import ValidationSet, open_validation
from regionspot_train.processes import local_device
from regionspot_train.record.meter import Meter
from regionspot_train.sweep.slots import TrialSlots, trial_folder
from regionspot_train.sweep.study import StudyClient, Trial
from regionspot_train.training_run import TrainingRun


@dataclass(frozen=True)
class SweepTask:
    """Task of all groups of a sweep."""

    config: TrainConfig
    """Settings that all heads share."""
    stores: Location | Sequence[Location]
    validate_on: Location | None
    """None: the images that ``data.split`` holds out."""
    out: Path
    at_once: int
    """Number of heads of each group that learn at one time."""
    stacked: bool
    groups: int = 1


@dataclass(frozen=True)
class GroupInputs:
    """Opened caches of a group, and its device."""

    sources: tuple[Source, ...]
    validation: ValidationSet
    device: torch.device

    @classmethod
    def open(cls, task: SweepTask) -> GroupInputs:
        """Open the caches of a task.

        Raises:
            CacheError: If a cache is missing, unfinished, or has no regions.
            ConfigError: If the caches lack what the settings need, or there is nothing to
                validate on.
            FingerprintError: If they are of different backbones.
        """
        config = task.config
        sources, device = open_sources(task.stores, config.data), local_device(config.device)
        validation = open_validation(config, sources, task.validate_on, device)
        if validation is None:
            raise ConfigError(
                "a sweep needs images to compare its heads on: give --val a store, or --split a "
                "share of the training images"
            )
        return cls(sources, validation, device)


def learn_group(
    task: SweepTask,
    inputs: GroupInputs,
    study: StudyClient,
    *,
    group: int = 0,
    stopping: Callable[[], bool],
    on_ended: Callable[[int], None],
) -> float:
    """Let heads learn until the study has no more to try.

    Args:
        task: The sweep's task.
        inputs: The task's opened caches.
        study: Chooses the heads, and gets their validations.
        group: The number of this group of the task; heads that it had begun are taken up again.
        stopping: Returns, after each batch, whether to write a checkpoint of every head and return.
        on_ended: Called after each batch with the number of heads that it ended.

    Returns:
        The share of the time that was spent waiting for data.
    """
    config, meter = task.config, Meter(inputs.device)

    def open_run(trial: Trial) -> TrainingRun:
        return TrainingRun(
            trial_config(config, trial),
            inputs.sources,
            trial_folder(task.out, trial.number),
            device=inputs.device,
            validation=inputs.validation,
            resume=True,
            pictured=False,
        )

    slots = TrialSlots(
        count=task.at_once,
        group=group,
        groups=task.groups,
        study=study,
        open_run=open_run,
        lockstep=Lockstep(inputs.device, stacked=task.stacked),
        validation=inputs.validation,
    )
    with slots:
        position = slots.position(config.data.first_batch)
        start = position - config.data.first_batch
        loader = FeatureLoader(inputs.sources, config, start_step=start, endless=True)
        with closing(meter.waiting(loader)) as batches:
            while slots.fill(position) and not stopping():
                ended = slots.ended
                slots.learn(position, next(batches))
                position += 1
                on_ended(slots.ended - ended)
        slots.checkpoint()
    return meter.waiting_share


def trial_config(config: TrainConfig, trial: Trial) -> TrainConfig:
    """Return the settings by which `fit` alone would make the same head as the sweep.

    Raises:
        ConfigError: If the head's settings do not fit together.
    """
    order = config.seed if config.data.seed is None else config.data.seed
    shared = {"data.seed": order, "data.first_batch": trial.first_batch}
    try:
        return config.with_values({**trial.values, **shared})
    except ConfigError as error:
        raise ConfigError(f"head {trial.number}: {error}") from None
