"""Losses against loops written from the papers' formulas."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import sigmoid_focal_loss

from regionspot_core.errors import ConfigError
from regionspot_train.config import LossConfig
from regionspot_train.learning.losses import reduce_losses, region_losses
from regionspot_train.learning.objective import Classes

FOCAL = LossConfig(kind="focal")
SOFTMAX = LossConfig(kind="softmax")


def naive_focal(logits: list[float], true: int, alpha: float, gamma: float) -> float:
    """Lin et al. 2017, equation 5, summed over the classes."""
    total = 0.0
    for index, logit in enumerate(logits):
        p = 1 / (1 + math.exp(-logit))
        p_t, alpha_t = (p, alpha) if index == true else (1 - p, 1 - alpha)
        total += -alpha_t * (1 - p_t) ** gamma * math.log(p_t)
    return total


def naive_softmax(logits: list[float], true: int) -> float:
    return math.log(sum(math.exp(value) for value in logits)) - logits[true]


def draw(*shape: int) -> torch.Tensor:
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (0.5, 0.0), (0.9, 1.5)])
def test_focal_equals_the_naive_loop(alpha: float, gamma: float) -> None:
    logits, classes = draw(2, 3, 5), torch.tensor([[0, 4, 2], [1, 1, 3]])
    found = region_losses(logits, classes, LossConfig(kind="focal", alpha=alpha, gamma=gamma))
    for b in range(2):
        for r in range(3):
            expected = naive_focal(logits[b, r].tolist(), int(classes[b, r]), alpha, gamma)
            assert found[b, r].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (0.0, 1.5), (1.0, 0.0), (0.7, 3.5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_focal_is_torchvisions_to_the_bit(alpha: float, gamma: float, dtype: torch.dtype) -> None:
    """Forward and gradient, of logits from sure to undecided."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(3, 4, 50, generator=generator).mul(8).to(dtype)
    classes = torch.randint(50, (3, 4), generator=generator)
    ours, theirs = (values.clone().requires_grad_() for _ in range(2))
    found = region_losses(ours, classes, LossConfig(kind="focal", alpha=alpha, gamma=gamma))
    targets = torch.nn.functional.one_hot(classes, 50).to(dtype)
    expected = sigmoid_focal_loss(theirs, targets, alpha=alpha, gamma=gamma).sum(-1)
    weights = torch.randn(3, 4, generator=generator).to(dtype)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    assert expected.abs().sum() > 0
    assert torch.equal(found, expected)
    assert torch.equal(ours.grad, theirs.grad)


def test_focal_by_hand() -> None:
    """At logit 0 every p is ½: ¼·¼·ln 2 for the true class and ¾·¼·ln 2 for each other."""
    found = region_losses(torch.zeros(1, 1, 3), torch.tensor([[1]]), FOCAL)
    assert found.item() == pytest.approx((0.25 + 2 * 0.75) * 0.25 * math.log(2))


def test_softmax_equals_the_naive_loop() -> None:
    logits, classes = draw(2, 3, 5), torch.tensor([[0, 4, 2], [1, 1, 3]])
    found = region_losses(logits, classes, SOFTMAX)
    for b in range(2):
        for r in range(3):
            expected = naive_softmax(logits[b, r].tolist(), int(classes[b, r]))
            assert found[b, r].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.1, 0.5])
def test_smoothed_softmax_equals_the_naive_sum(smoothing: float) -> None:
    """Szegedy et al. 2016: the target is 1 - ε on the true class, and ε / K on all of them."""
    logits, classes = draw(2, 3, 5), torch.tensor([[0, 4, 2], [1, 1, 3]])
    config = LossConfig(kind="softmax", label_smoothing=smoothing)
    found = region_losses(logits, classes, config)
    for b in range(2):
        for r in range(3):
            row, true = logits[b, r].tolist(), int(classes[b, r])
            each = [naive_softmax(row, k) for k in range(5)]
            expected = (1 - smoothing) * each[true] + smoothing * sum(each) / 5
            assert found[b, r].item() == pytest.approx(expected, rel=1e-5)


def test_smoothing_is_of_the_softmax_alone() -> None:
    with pytest.raises(ConfigError, match="label_smoothing is an option of the softmax loss"):
        LossConfig.parse({"kind": "focal", "label_smoothing": 0.1}, source="test")


def all_classes(count: int) -> Classes:
    return Classes(torch.arange(count, dtype=torch.float32)[:, None], 1.0)


@given(st.integers(1, 30), st.sets(st.integers(0, 29)), st.integers(1, 40), st.integers(0, 5))
def test_drawn_classes(count: int, own: set[int], negatives: int, seed: int) -> None:
    """All of the batch's and so many others, each at its place."""
    own = {k for k in own if k < count}
    mask = torch.zeros(count, dtype=torch.bool)
    mask[sorted(own)] = True
    drawn = all_classes(count).drawn(mask, negatives, (seed, 3))
    names = drawn.embeddings_KD[:, 0].int().tolist()
    assert own <= set(names)
    assert names == sorted(set(names))
    assert len(names) == min(count, len(own) + negatives)
    assert drawn.place is not None
    assert all(names[drawn.place[k]] == k for k in names)


def test_other_classes_are_drawn_alike() -> None:
    own, times = torch.zeros(10, dtype=torch.bool), torch.zeros(10)
    own[3] = True
    for step in range(2000):
        times[all_classes(10).drawn(own, 2, (0, step)).embeddings_KD[:, 0].long()] += 1
    assert times[3] == 2000
    others = times[torch.arange(10) != 3]
    assert ((others / 2000 - 2 / 9).abs() < 0.04).all()  # four standard deviations


@pytest.mark.parametrize(
    ("reduction", "expected"),
    [
        # mean of (1, 3) + mean of (5) + an image without regions
        ("paper", 2.0 + 5.0 + 0.0),
        ("mean", (1.0 + 3.0 + 5.0) / 3),
    ],
)
def test_reductions_by_hand(reduction: str, expected: float) -> None:
    losses = torch.tensor([[1.0, 3.0], [5.0, 99.0], [99.0, 99.0]])
    mask = torch.tensor([[True, True], [True, False], [False, False]])
    config = LossConfig.parse({"reduction": reduction}, source="test")
    assert reduce_losses(losses, mask, config, regions=3).item() == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["focal", "softmax"])
@pytest.mark.parametrize("reduction", ["paper", "mean"])
def test_padding_gives_no_loss_and_no_gradient(kind: str, reduction: str) -> None:
    config = LossConfig.parse({"kind": kind, "reduction": reduction}, source="test")
    mask = torch.tensor([[True, True, False], [True, False, False]])
    classes = torch.tensor([[0, 4, -1], [1, -1, -1]])
    values = []
    for padding in (0.0, 1e4):
        logits = draw(2, 3, 5)
        logits[~mask] = padding
        logits.requires_grad_()
        loss = reduce_losses(region_losses(logits, classes, config), mask, config, regions=3)
        loss.backward()
        assert logits.grad is not None
        assert not logits.grad[~mask].any()
        values.append(loss.item())
    assert values[0] == values[1]


def test_a_batch_of_padding_alone_is_zero() -> None:
    mask = torch.zeros(2, 3, dtype=torch.bool)
    for reduction in ("paper", "mean"):
        config = LossConfig.parse({"reduction": reduction}, source="test")
        assert reduce_losses(torch.ones(2, 3), mask, config, regions=0).item() == 0
