"""The share of its time that training waits for data."""

from __future__ import annotations

import torch

from regionspot_core.cache.reader import FeatureCache
from regionspot_train.config import TrainConfig
from regionspot_train.learner import Learner
from regionspot_train.loader import FeatureLoader
from regionspot_train.meter import LogLine, Meter


def train_and_watch(settings: TrainConfig, cache: FeatureCache) -> LogLine:
    """Train as ``train fit`` does, and what its log would say of all steps.

    The first batch, which nothing can have read ahead, counts too.
    """
    learner = Learner(settings, cache, cache.class_bank(), torch.device("cpu"))
    loader = FeatureLoader(
        cache,
        batch_images=settings.batch_images,
        seed=settings.seed,
        steps=settings.steps,
        reading=settings.reading,
    )
    meter = Meter()
    for batch in meter.waiting(loader):
        learnt = learner.learn(batch)
        meter.add(learnt.loss, learnt.gradient_norm, batch)
    return meter.line(learner.step, learnt.lr)
