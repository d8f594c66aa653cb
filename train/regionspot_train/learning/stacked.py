"""Heads of one shape, computed as one: their weights lie in one tensor, a slice each.

Each learner's parameters become views of the stacked ones, so that optimisers, checkpoints and
validation need not know of it; only the forward and backward passes are batched
(``torch.func.vmap``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from regionspot_core.errors import CheckpointError
from regionspot_core.heads.cached import head_inputs
from regionspot_core.heads.fusion import FusionHead
from regionspot_core.heads.registry import unallocated_head
from regionspot_train.data.loader import TrainBatch
from regionspot_train.learning.learner import Learner, StepFailure, StepResult


def stack_key(learner: Learner) -> str | None:
    """Return a key that learners which may be stacked share; None if one must stay alone."""
    config, head = learner.config, learner.learning
    # What a user's class computes may not be batched: it may draw random numbers, or branch.
    if not isinstance(head, FusionHead) or head.config.dropout > 0:
        return None
    if config.pieces > 1 or config.compile:
        return None
    if config.precision == "float16":  # each would need its own loss scale in one backward pass
        return None
    return f"{head.config.model_dump_json()} {config.precision}"


class Stack:
    """Learners whose heads are computed together.

    Args:
        learners: Two or more of one :func:`stack_key`.
    """

    def __init__(self, learners: Sequence[Learner]) -> None:
        self._learners = list(learners)
        heads = [learner.learning for learner in learners]
        self._weights, _ = stack_module_state([*heads])
        self._tables = dict(heads[0].named_buffers())  # of positions, say: alike in all
        unallocated = unallocated_head(heads[0].config)
        assert unallocated is not None
        self._shape = unallocated.train()
        for name, stacked in self._weights.items():
            for head, own in zip(heads, stacked.detach(), strict=True):
                head.get_parameter(name).data = own

    def learn(self, batch: TrainBatch) -> list[StepResult | StepFailure]:
        """Let each learner take a step on a batch whose features are on the heads' device."""
        losses = self._backward(batch)
        results: list[StepResult | StepFailure] = []
        for n, (learner, loss) in enumerate(zip(self._learners, losses, strict=True)):
            for name, stacked in self._weights.items():
                if stacked.grad is not None:
                    parameter = learner.learning.get_parameter(name)
                    own = stacked.grad[n]
                    # The logit scale is not part of the stacked pass: it has its gradient already.
                    parameter.grad = own if parameter.grad is None else parameter.grad + own
            try:
                results.append(learner.take_step(loss, batch))
            except CheckpointError as error:
                results.append(StepFailure(str(error)))
        return results

    def _backward(self, batch: TrainBatch) -> list[torch.Tensor]:
        """Return the loss of each learner, and leave gradients in the stacked weights."""
        first = self._learners[0]
        for stacked in self._weights.values():
            stacked.grad = None
        for learner in self._learners:
            learner.learning.zero_grad(set_to_none=True)

        inputs = head_inputs(
            self._shape.config.needs, batch.features, first.objective.kept, first.device
        )

        def one(weights: dict[str, Any]) -> torch.Tensor:
            embedded: torch.Tensor = functional_call(
                self._shape, {**self._tables, **weights}, inputs
            )
            return embedded

        # vmap has no rule for the CPU's fused attention, and would run it head by head.
        with first.autocast(), sdpa_kernel(SDPBackend.MATH):
            embedded = vmap(one, randomness="error")(self._weights)
            losses = [
                learner.objective.of_embedded(
                    own, inputs.mask, batch.features, learner.classes(batch), batch.regions
                )
                for own, learner in zip(embedded, self._learners, strict=True)
            ]
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
        return [loss.detach() for loss in losses]
