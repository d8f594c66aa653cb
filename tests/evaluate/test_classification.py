"""Region top-1: hand-counted shares."""

import numpy as np
import pytest

from regionspot_core.vocabulary import Vocabulary
from regionspot_evaluate.classification import RegionTop1

VOCABULARY = Vocabulary(
    names=("cat", "dog", "newt", "sofa"),
    ids=(1, 2, 3, 4),
    frequencies=("f", "c", "r", ""),
    kinds=("", "seen", "unseen", ""),
)


def scores(*best: int) -> np.ndarray:
    """(R, 4) scores, highest at the class of each region."""
    return np.eye(4)[list(best)] * 2 - 5


def test_nothing_seen_has_no_share() -> None:
    top1 = RegionTop1(VOCABULARY)
    top1.add(np.zeros((0, 4)), np.zeros(0, dtype=int))
    top1.add(scores(0, 1), np.array([-1, -1]))
    assert top1.shares() == {}


def test_shares_by_frequency_and_kind() -> None:
    top1 = RegionTop1(VOCABULARY)
    top1.add(scores(0, 0, 1), np.array([0, 1, 1]))  # cat right; dog wrong, right
    top1.add(scores(3, 2, 3, 0), np.array([2, 2, 3, -1]))  # newt wrong, right; sofa right
    assert top1.shares() == {
        "all": 4 / 6,
        "frequent": 1.0,
        "common": 0.5,
        "rare": 0.5,
        "seen": 0.5,
        "unseen": 0.5,
    }


def test_unknown_regions_between_known_ones_are_left_aside() -> None:
    top1 = RegionTop1(VOCABULARY)
    top1.add(scores(3, 0, 3, 1), np.array([-1, 0, -1, 2]))
    assert top1.shares() == {"all": 0.5, "frequent": 1.0, "rare": 0.0, "unseen": 0.0}


def test_batches_count_as_one_whole() -> None:
    random = np.random.default_rng(0)
    said, true = random.random((50, 4)), random.integers(-1, 4, 50)
    whole, parts = RegionTop1(VOCABULARY), RegionTop1(VOCABULARY)
    whole.add(said, true)
    for start in range(0, 50, 7):
        parts.add(said[start : start + 7], true[start : start + 7])
    assert parts.shares() == whole.shares()
    right = [s.argmax() == t for s, t in zip(said, true, strict=True) if t >= 0]
    assert whole.shares()["all"] == pytest.approx(sum(right) / len(right))
