"""AdamW and the schedule of its learning rate."""

from __future__ import annotations

import math

import torch

from regionspot_train.config import OptimiserConfig


def make_optimiser(head: torch.nn.Module, config: OptimiserConfig) -> torch.optim.AdamW:
    """Return AdamW over the head's parameters, with weight decay on matrices alone."""
    parameters = list(head.parameters())
    groups = [
        {
            "params": [p for p in parameters if p.ndim >= 2],
            "weight_decay": config.weight_decay,
        },
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.lr)


def rate_factor(step: int, steps: int, config: OptimiserConfig) -> float:
    """Return the factor of the learning rate at ``step`` (from 0) of ``steps``.

    Linear from ``warmup_factor`` to 1 over the warm-up; then constant, divided by ten at each
    milestone, or a half cosine that ends at 0.
    """
    if step < config.warmup_steps:
        share = step / config.warmup_steps
        return config.warmup_factor + (1 - config.warmup_factor) * share
    if config.schedule == "steps":
        return math.prod(0.1 for milestone in config.milestones if step >= milestone)
    if config.schedule == "cosine":
        share = (step - config.warmup_steps) / max(1, steps - config.warmup_steps)
        return 0.5 * (1 + math.cos(math.pi * share))
    return 1.0
