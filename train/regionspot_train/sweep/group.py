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
from regionspot_train.learning.validation import ValidationSet
from regionspot_train.processes import local_device
from regionspot_train.record.meter import Meter
from regionspot_train.sweep.slots import TrialSlots, trial_folder
from regionspot_train.sweep.study import Asking, Trial
from regionspot_train.training_run import TrainingRun


@dataclass(frozen=True)
class SweepTask:
    """What all groups of a sweep are to do."""

    config: TrainConfig
    """What all heads have in common."""
    stores: Location | Sequence[Location]
    validate_on: Location
    out: Path
    at_once: int
    """Heads that learn at one time, of each group."""
    stacked: bool
    groups: int = 1


@dataclass(frozen=True)
class GroupInputs:
    """The opened caches of a group, and where it computes."""

    sources: tuple[Source, ...]
    validation: ValidationSet
    device: torch.device

    @classmethod
    def open(cls, task: SweepTask) -> GroupInputs:
        """Open what a task names.

        Raises:
            CacheError: A cache is missing, unfinished, or has no regions.
            ConfigError: The caches cannot give what is asked for.
            FingerprintError: They are of different backbones.
        """
        config = task.config
        sources, device = open_sources(task.stores, config.data), local_device(config.device)
        validation = ValidationSet(
            config.validation,
            task.validate_on,
            sources[0].cache.fingerprint["backbones"],
            batch_images=config.batch_images,
            device=device,
        )
        return cls(sources, validation, device)


def learn_group(
    task: SweepTask,
    inputs: GroupInputs,
    study: Asking,
    *,
    group: int = 0,
    stopping: Callable[[], bool],
    on_ended: Callable[[int], None],
) -> float:
    """Let heads learn until the study has no more to try.

    Args:
        task: What is asked.
        inputs: Its opened caches.
        study: Says which heads, and is told of them.
        group: Which of the task's groups this is: heads that it had begun are taken up again.
        stopping: Asked after each batch; once it is so, every head gets a checkpoint, and this
            returns.
        on_ended: Told after each batch how many heads have ended by it.

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
    """What a head alone would be asked to learn what it learns in the sweep.

    Raises:
        ConfigError: Its settings do not go together.
    """
    order = config.seed if config.data.seed is None else config.data.seed
    shared = {"data.seed": order, "data.first_batch": trial.first_batch}
    try:
        return config.with_values({**trial.values, **shared})
    except ConfigError as error:
        raise ConfigError(f"head {trial.number}: {error}") from None
