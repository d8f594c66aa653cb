"""A sweep of demo-size heads beside as many single runs, from a slow disk and from memory."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from regionspot_bench.measure import timed
from regionspot_bench.train.config import TINY_CLIP, TINY_TEXT, Sizes
from regionspot_bench.train.slow_cache import SlowCache
from regionspot_bench.train.stores import write_store
from regionspot_core.errors import CheckpointError
from regionspot_train.config import TrainConfig, recipe_or_file
from regionspot_train.data.loader import FeatureLoader, TrainBatch
from regionspot_train.data.sources import Source, open_sources
from regionspot_train.learning.learner import Learner, StepFailure
from regionspot_train.learning.lockstep import Lockstep
from regionspot_train.record.meter import Meter

HEADS = 16
WAITING = 0.94
"""The share of a single run's time that the disk is made slow for; 0.9 is required."""
FREE_RUNS = 3
"""Single runs that say how long a step takes, before a rate is chosen."""


class TrainGroup(Protocol):
    """Trains a head for each config, all on the same batches."""

    def __call__(
        self,
        configs: Sequence[TrainConfig],
        sources: Sequence[Source],
        batches: Iterable[TrainBatch],
    ) -> None:
        """Use the batches up. The sources say widths and classes; they are not read from."""
        ...


def train_in_lockstep(
    configs: Sequence[TrainConfig], sources: Sequence[Source], batches: Iterable[TrainBatch]
) -> None:
    """Train as `train sweep` does. A head whose numbers are no longer finite is an error here."""
    device = torch.device("cpu")
    learners = [Learner(config, sources, device) for config in configs]
    lockstep = Lockstep(device)
    for batch in batches:
        for result in lockstep.learn(learners, batch):
            if isinstance(result, StepFailure):
                raise CheckpointError(result.reason)


@dataclass(frozen=True)
class Ran:
    """A run, of one head or of many."""

    seconds: float
    waiting: float
    """The share of its time."""


@dataclass(frozen=True)
class SweepRound:
    """The runs that are held against each other."""

    single: Ran
    sweep: Ran
    free_single: Ran
    """One head, read from memory."""
    free_sweep: Ran

    @property
    def ratio(self) -> float:
        """The sweep's time over that of as many single runs, from the slow disk."""
        return self.sweep.seconds / (HEADS * self.single.seconds)

    @property
    def free_ratio(self) -> float:
        """The same from memory."""
        return self.free_sweep.seconds / (HEADS * self.free_single.seconds)


@dataclass(frozen=True)
class SweepFigures:
    """All rounds."""

    rounds: tuple[SweepRound, ...]
    steps: int
    batch_images: int
    bytes_per_second: float

    @property
    def ratio(self) -> float:
        """Median ratio of the rounds from the slow disk."""
        return statistics.median(each.ratio for each in self.rounds)

    @property
    def free_ratio(self) -> float:
        """Median ratio of the rounds from memory."""
        return statistics.median(each.free_ratio for each in self.rounds)

    @property
    def waiting(self) -> float:
        """The share of its time that a single run waits for the slow disk."""
        return statistics.median(each.single.waiting for each in self.rounds)

    def seconds(self, name: str) -> float:
        """Return the seconds of a run, by its name in :class:`SweepRound`."""
        runs: list[Ran] = [getattr(each, name) for each in self.rounds]
        return statistics.median(run.seconds for run in runs)


def measure_sweep(
    folder: Path, sizes: Sizes, train_group: TrainGroup = train_in_lockstep
) -> SweepFigures:
    """Train one head and then sixteen on as many batches, read at a rate and read freely."""
    store, batch_images, steps = folder / "sweep", sizes.sweep_batch, sizes.sweep_steps
    write_store(
        store,
        TINY_CLIP,
        images=batch_images * steps,
        part_images=batch_images,
        text_width=TINY_TEXT,
    )
    configs = [sweep_config(number, steps, batch_images) for number in range(HEADS)]

    def run(heads: int, sources: Sequence[Source]) -> Ran:
        loader, meter = FeatureLoader(sources, configs[0]), Meter(torch.device("cpu"))
        seconds = timed(lambda: train_group(configs[:heads], sources, meter.waiting(loader)))
        return Ran(seconds, meter.waiting_share)

    free = open_sources(store, configs[0].data)
    run(1, free)
    step = statistics.median(run(1, free).seconds for _ in range(FREE_RUNS)) / steps
    batch_bytes = free[0].cache.read(np.arange(batch_images)).nbytes
    limited = SlowCache(store, batch_bytes * (1 - WAITING) / step)
    slow = (replace(free[0], cache=limited),)
    rounds = tuple(
        SweepRound(
            single=run(1, slow),
            sweep=run(HEADS, slow),
            free_single=run(1, free),
            free_sweep=run(HEADS, free),
        )
        for _ in range(sizes.sweep_rounds)
    )
    return SweepFigures(rounds, steps, batch_images, limited.bytes_per_second)


def sweep_config(number: int, steps: int, batch_images: int) -> TrainConfig:
    """Return the settings of the heads: the demo's recipe, each with its own rate and seed."""
    overrides = [
        f"steps={steps}",
        f"batch_images={batch_images}",
        f"seed={number}",
        f"optimiser.lr={1e-3 * 0.9**number}",
    ]
    return TrainConfig.load(recipe_or_file("demo"), overrides)
