"""A training step with cached image tokens beside the same step with CLIP run in it."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal, Protocol

import torch

from regionspot_bench.measure import Times, take_turns
from regionspot_bench.train.config import Sizes
from regionspot_core.cache.location import Location
from regionspot_core.cache.read.batch import FeatureBatch
from regionspot_core.cache.read.order import BatchOrder
from regionspot_train.config import TrainConfig
from regionspot_train.data.loader import TrainBatch
from regionspot_train.data.sources import open_sources
from regionspot_train.learning.learner import Learner

CACHED, ONLINE = "cached", "online"
CACHED_STEPS = 3
"""Cached steps of a turn; an online step takes many times as long."""
DIFFERENT_BATCHES = 64

Precision = Literal["float32", "bfloat16"]


class OnlineClip(Protocol):
    """A frozen image tower."""

    side: int
    """Side of its square input, pixels."""

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return tokens (B, T, C) of normalised pixels (B, 3, side, side)."""
        ...


@dataclass(frozen=True)
class StepTimes:
    """Seconds of a step, both ways."""

    times: Times
    batch_images: int

    @property
    def ratio(self) -> float:
        """Seconds of a step that runs CLIP over seconds of a cached step."""
        return self.times.ratio(ONLINE, CACHED)


def time_steps(settings: TrainConfig, store: Location, clip: OnlineClip, sizes: Sizes) -> StepTimes:
    """Take steps both ways, in turns, with one learner.

    Online is as the original does it: SAM's tokens come from the cache, the images' from CLIP. It
    is given pixels that are already decoded and resized, for free. Nothing is read ahead for
    either; the cached steps wait for their reads.
    """
    device, sources = torch.device("cpu"), open_sources(store, settings.data)
    learner, cache = Learner(settings, sources, device), sources[0].cache
    order = BatchOrder(images=sources[0].images, batch_images=settings.batch_images, seed=1)
    wanted = list(islice(order.batches(), DIFFERENT_BATCHES))
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(
        (settings.batch_images, 3, clip.side, clip.side), generator=generator, device=device
    )

    def learn(batch: FeatureBatch) -> None:
        learner.learn(TrainBatch(0, batch, int(batch.mask.sum())))

    def cached(number: int) -> None:
        learn(cache.read(wanted[number % len(wanted)]))

    def online(number: int) -> None:
        batch = cache.read(wanted[number % len(wanted)])
        learn(replace(batch, image_tokens=clip(pixels)))

    clip(pixels[:1])
    cached(0)
    seconds: dict[str, list[float]] = {CACHED: [], ONLINE: []}
    began = time.perf_counter()
    for number in range(sizes.rounds):
        if number and time.perf_counter() - began > sizes.round_seconds:
            break
        # The mean, not the fastest: a turn of one way has more steps than one of the other.
        turn = take_turns(
            {CACHED: cached, ONLINE: online},
            rounds=1,
            repeats={CACHED: CACHED_STEPS},
            of_turn=statistics.fmean,
        )
        for name, taken in turn.seconds.items():
            seconds[name] += taken
    return StepTimes(Times(seconds), settings.batch_images)
