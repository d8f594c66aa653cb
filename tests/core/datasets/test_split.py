"""Held-out images: as many as were asked for, and the same ones wherever they are looked up."""

from hashlib import blake2b

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regionspot_core.datasets.split import Split
from regionspot_core.errors import InputError

IDS = st.lists(st.integers(-(2**63), 2**63 - 1), min_size=2, max_size=80, unique=True)


@given(IDS, st.floats(0.01, 0.99), st.integers(0, 9))
def test_a_share_is_held_out_whatever_the_order(ids: list[int], share: float, seed: int) -> None:
    count = max(1, round(share * len(ids)))
    if count == len(ids):
        with pytest.raises(InputError, match="leaves none to learn from"):
            Split.of(ids, share=share, seed=seed)
        return
    split = Split.of(np.array(ids), share=share, seed=seed)
    assert split.held_out(ids).sum() == count
    assert Split.of(ids[::-1], share=share, seed=seed) == split


def test_whoever_has_the_ids_can_tell() -> None:
    """By the naive definition: the smallest hashes of seed and id."""
    ids = [3, 10, 17, 24, 31, 38, 45, 52, 59, 66]
    hashes = {
        i: int.from_bytes(blake2b(f"4 {i}".encode(), digest_size=6).digest(), "big") for i in ids
    }
    expected = sorted(ids, key=hashes.__getitem__)[:3]
    split = Split.of(ids, share=0.3, seed=4)
    assert [i for i, held in zip(ids, split.held_out(ids), strict=True) if held] == sorted(expected)
    assert split.held_out([expected[0]]).tolist() == [True]
    assert split.held_out([]).tolist() == []


def test_seeds_choose_other_images() -> None:
    ids = list(range(200))
    first, second = (Split.of(ids, share=0.5, seed=seed).held_out(ids) for seed in (0, 1))
    assert 60 < (first == second).sum() < 140
