"""Several heads that learn from the same batches, of which each is read once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from regionspot_train.data.loader import TrainBatch
from regionspot_train.learning.learner import Learner, StepFailure, StepResult
from regionspot_train.learning.stacked import Stack, stack_key


class Lockstep:
    """Lets learners take their steps on one batch after another.

    Each learns what it would learn alone: it has its own weights, optimiser, schedule, loss and
    random numbers.

    Args:
        device: Device of all heads.
        stacked: Whether heads of one shape are computed together, as one batched computation.
            Heads with dropout stay apart, as its random numbers are each head's own.
    """

    def __init__(self, device: torch.device, *, stacked: bool = False) -> None:
        self._device = device
        self._stacked = stacked
        self._stacks: dict[tuple[int, ...], Stack] = {}

    def learn(
        self, learners: Sequence[Learner], batch: TrainBatch
    ) -> list[StepResult | StepFailure]:
        """Let each learner take a step, and return each one's result."""
        # Converted and sent to the device once, not once for each head.
        features = batch.features.as_float(self._device)
        batch = replace(batch, features=features)
        results: list[StepResult | StepFailure | None] = [None] * len(learners)
        stacks = {}
        for places in self._stackable(learners):
            members = [learners[n] for n in places]
            key = tuple(map(id, members))
            stacks[key] = self._stacks.get(key) or Stack(members)
            for n, result in zip(places, stacks[key].learn(batch), strict=True):
                results[n] = result
        self._stacks = stacks
        return [
            learner.try_to_learn(batch) if result is None else result
            for learner, result in zip(learners, results, strict=True)
        ]

    def _stackable(self, learners: Sequence[Learner]) -> list[list[int]]:
        """Return the places of learners that are computed together, two or more in each list."""
        if not self._stacked:
            return []
        groups: dict[str, list[int]] = {}
        for n, learner in enumerate(learners):
            key = stack_key(learner)
            if key is not None:
                groups.setdefault(key, []).append(n)
        return [places for places in groups.values() if len(places) > 1]
