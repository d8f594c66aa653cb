"""Attention as a map over the picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from regionspot_evaluate.recognition.attention_map import AttentionMap, NoAttentionError


def of_tokens(*weights: float) -> AttentionMap:
    return AttentionMap.of_tokens(torch.tensor(weights), layer=1, layers=3, covered=1.0)


@pytest.mark.parametrize(
    ("weights", "grid", "class_token"),
    [
        ((0.1, 0.2, 0.3, 0.4), [[0.1, 0.2], [0.3, 0.4]], 0.0),
        ((0.5, 0.05, 0.1, 0.15, 0.2), [[0.1, 0.2], [0.3, 0.4]], 0.5),
        ((1.0, 0.0, 0.0, 0.0, 0.0), [[0.25, 0.25], [0.25, 0.25]], 1.0),
        ((1.0,), [[1.0]], 0.0),
    ],
)
def test_the_class_token_has_no_place(
    weights: tuple[float, ...], grid: list[list[float]], class_token: float
) -> None:
    found = of_tokens(*weights)
    np.testing.assert_allclose(found.weights_GG, grid, rtol=1e-6)
    assert found.class_token == pytest.approx(class_token)
    assert found.weights_GG.sum() == pytest.approx(1)


@pytest.mark.parametrize("tokens", [3, 6, 7])
def test_tokens_that_are_no_grid(tokens: int) -> None:
    with pytest.raises(NoAttentionError, match="no square grid"):
        of_tokens(*[1 / tokens] * tokens)
