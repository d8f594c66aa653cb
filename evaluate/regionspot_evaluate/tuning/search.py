"""The search for a fusion's weights and temperatures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F

from regionspot_core.heads.score_fusion import fused_logits

OBJECTIVE = "mean over seen and held-out classes' regions of -log p of the true class"
STARTS = ((0.3, 0.3), (0.05, 0.05), (0.2, 0.7), (0.7, 0.7))
"""Weights of seen and of unseen classes that the search begins with; the best end is taken."""
STEPS = 100
COLDEST, HOTTEST = 0.02, 50.0
PULL = 3e-4
"""Weight of the temperatures' squared logarithms: where both weights are alike, a sharper head with
a smaller share says the same, and of such equals the ones nearest to 1 are taken."""
DIGITS = 4
"""Decimals that are kept: finer ones change no figure."""


@dataclass(frozen=True)
class RegionScores:
    """Scores of N regions over K classes by a head and by CLIP."""

    head_NK: torch.Tensor
    """Logits."""
    clip_NK: torch.Tensor
    """Logits: logarithms of probabilities."""
    true_N: torch.Tensor
    """True class of each region."""
    seen_K: torch.Tensor
    """Whether the head learnt from a region of each class."""

    @property
    def seen_N(self) -> torch.Tensor:
        """(N,) whether each region's class is a seen one."""
        return self.seen_K[self.true_N]


class Numbers(NamedTuple):
    """Weights and temperatures of a fusion."""

    weight_seen: float
    weight_unseen: float
    head_temperature: float
    clip_temperature: float


HEAD_ALONE, CLIP_ALONE = Numbers(0.0, 0.0, 1.0, 1.0), Numbers(1.0, 1.0, 1.0, 1.0)


def search(scores: RegionScores) -> Numbers:
    """Return the numbers with the least :data:`OBJECTIVE`, by L-BFGS from several starts."""
    ends = [_descend(scores, start) for start in STARTS]
    return min(ends, key=lambda end: figures(scores, end)["loss"])


def figures(scores: RegionScores, numbers: Numbers) -> dict[str, float]:
    """Return top-1 of seen and of held-out classes' regions, their mean, and the objective."""
    fused = _fused(scores, torch.tensor(numbers))
    right, seen = fused.argmax(-1) == scores.true_N, scores.seen_N
    shares = [float(right[group].float().mean()) for group in (seen, ~seen)]
    return {
        "seen": shares[0],
        "held_out": shares[1],
        "mean": sum(shares) / 2,
        "loss": float(_loss(fused, scores)),
    }


def _fused(scores: RegionScores, numbers: torch.Tensor) -> torch.Tensor:
    """Return the fused logits (N, K) by four numbers in the order of :class:`Numbers`."""
    weight_seen, weight_unseen, head_temperature, clip_temperature = numbers
    return fused_logits(
        scores.head_NK / head_temperature,
        scores.clip_NK / clip_temperature,
        torch.where(scores.seen_K, weight_seen, weight_unseen),
    )


def _loss(fused_NK: torch.Tensor, scores: RegionScores) -> torch.Tensor:
    """Return the :data:`OBJECTIVE`: seen and held-out classes count alike, however many regions."""
    of_regions, seen = F.cross_entropy(fused_NK, scores.true_N, reduction="none"), scores.seen_N
    return (of_regions[seen].mean() + of_regions[~seen].mean()) / 2


def _descend(scores: RegionScores, start: tuple[float, float]) -> Numbers:
    """Return where the search ends that begins with these weights and temperatures of 1."""
    free = torch.tensor([*torch.tensor(start).logit().tolist(), 0.0, 0.0], requires_grad=True)
    optimiser = torch.optim.LBFGS([free], max_iter=STEPS, line_search_fn="strong_wolfe")

    def evaluate() -> torch.Tensor:
        optimiser.zero_grad()
        value = _loss(_fused(scores, _bounded(free)), scores) + PULL * free[2:].square().sum()
        value.backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
        return value

    optimiser.step(evaluate)  # type: ignore[no-untyped-call] # likewise
    return Numbers(*(round(float(value), DIGITS) for value in _bounded(free.detach())))


def _bounded(free: torch.Tensor) -> torch.Tensor:
    """Return weights in 0 … 1 and temperatures of four numbers without bounds."""
    return torch.cat([free[:2].sigmoid(), free[2:].exp().clamp(COLDEST, HOTTEST)])
