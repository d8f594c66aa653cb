"""The learning rate's course, by hand."""

import pytest
import torch

from regionspot_core.heads.fusion import FusionConfig, FusionHead
from regionspot_train.config import OptimiserConfig
from regionspot_train.learning.optimiser import make_optimiser, rate_factor


@pytest.mark.parametrize(
    ("schedule", "step", "expected"),
    [
        ("constant", 0, 0.01),
        ("constant", 50, 0.505),
        ("constant", 100, 1.0),
        ("constant", 999, 1.0),
        ("cosine", 100, 1.0),
        ("cosine", 550, 0.5),
        ("cosine", 1000, 0.0),
        ("steps", 599, 1.0),
        ("steps", 600, 0.1),
        ("steps", 800, 0.01),
    ],
)
def test_rate_factor(schedule: str, step: int, expected: float) -> None:
    config = OptimiserConfig.parse(
        {"schedule": schedule, "warmup_steps": 100, "milestones": [600, 800]}, source="test"
    )
    assert rate_factor(step, 1000, config) == pytest.approx(expected, abs=1e-12)


def test_only_matrices_are_decayed() -> None:
    head = FusionHead(
        FusionConfig(
            region_width=8, image_width=16, text_width=12, ffn_width=32, logit_scale="learned"
        )
    )
    optimiser = make_optimiser(head, OptimiserConfig(lr=0.5, weight_decay=0.1))
    before = {name: value.detach().clone() for name, value in head.named_parameters()}
    for parameter in head.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    for name, value in head.named_parameters():
        factor = 1 - 0.5 * 0.1 if value.ndim >= 2 else 1.0
        torch.testing.assert_close(value, before[name] * factor, msg=name)
