"""The share of its time that training waits for data."""

from __future__ import annotations

import torch

from regionspot_core.cache.location import Location
from regionspot_train.config import TrainConfig
from regionspot_train.data.loader import FeatureLoader
from regionspot_train.data.sources import open_sources
from regionspot_train.learning.learner import Learner
from regionspot_train.record.meter import LogLine, Meter


def train_and_watch(settings: TrainConfig, store: Location) -> LogLine:
    """Train as ``train fit`` does, and return the line of its log over all steps.

    The first batch, which nothing can have read ahead, counts too.
    """
    device, sources = torch.device("cpu"), open_sources(store, settings.data)
    learner = Learner(settings, sources, device)
    meter = Meter(device)
    for batch in meter.waiting(FeatureLoader(sources, settings)):
        learnt = learner.learn(batch)
        meter.add(learnt.loss, learnt.gradient_norm, batch.regions)
    return meter.line(learner.step, learnt.lr)
