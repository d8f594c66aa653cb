"""Region classification: hand-counted shares, and ranks against a plain sort."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from regionspot_core.datasets.vocabulary import Vocabulary
from regionspot_evaluate.scoring.classification import RegionFigures, RegionNaming, true_ranks

VOCABULARY = Vocabulary(
    names=("cat", "dog", "newt", "sofa"),
    ids=(1, 2, 3, 4),
    frequencies=("f", "c", "r", ""),
    kinds=("", "seen", "unseen", ""),
)
# Few values, so that many scores tie.
tied_scores = arrays.arrays(
    np.float32,
    st.tuples(st.integers(0, 4), st.integers(1, 7)),
    elements=st.sampled_from([0.0, 0.5, 1.0]),
)


def scores(*best: int) -> np.ndarray:
    """(R, 4) scores, highest at the class of each region."""
    return np.eye(4)[list(best)] * 2 - 5


@given(tied_scores, st.data())
def test_ranks_are_places_in_a_stable_sort(found: np.ndarray, data: st.DataObject) -> None:
    count, classes = found.shape
    true = data.draw(arrays.arrays(np.int64, count, elements=st.integers(-1, classes - 1)))
    expected = [
        -1 if k < 0 else sorted(range(classes), key=lambda j: (-row[j], j)).index(k)
        for row, k in zip(found, true, strict=True)
    ]
    assert true_ranks(found, true).tolist() == expected
    first = true_ranks(found, true) == 0
    assert first.tolist() == [bool(k == row.argmax()) for row, k in zip(found, true, strict=True)]


def test_nothing_seen_has_no_share() -> None:
    naming = RegionNaming(VOCABULARY)
    naming.add(np.zeros((0, 4)), np.zeros(0, dtype=int))
    naming.add(scores(0, 1), np.array([-1, -1]))
    assert naming.figures() == RegionFigures({}, {}, {})


def test_shares_by_frequency_and_kind() -> None:
    naming = RegionNaming(VOCABULARY)
    naming.add(scores(0, 0, 1), np.array([0, 1, 1]))  # cat right; dog wrong, right
    naming.add(scores(3, 2, 3, 0), np.array([2, 2, 3, -1]))  # newt wrong, right; sofa right
    assert naming.figures().top1 == {
        "all": 4 / 6,
        "frequent": 1.0,
        "common": 0.5,
        "rare": 0.5,
        "seen": 0.5,
        "unseen": 0.5,
    }


def test_each_class_counts_alike_in_the_classes_mean() -> None:
    naming = RegionNaming(VOCABULARY)
    naming.add(scores(0, 0, 0, 1, 1), np.array([0, 0, 0, 0, 2]))  # cat 3 of 4; newt 0 of 1
    figures = naming.figures()
    assert figures.top1["all"] == 3 / 5
    assert figures.class_mean == {"all": 3 / 8, "frequent": 3 / 4, "rare": 0, "unseen": 0}


def test_the_first_five_are_five() -> None:
    """Ten classes in falling order: the true one at each place in turn."""
    naming = RegionNaming(Vocabulary.from_names([f"class {k}" for k in range(10)]))
    naming.add(np.tile(-np.arange(10.0), (10, 1)), np.arange(10))
    assert naming.figures() == RegionFigures({"all": 0.1}, {"all": 0.5}, {"all": 0.1})


def test_unknown_regions_between_known_ones_are_left_aside() -> None:
    naming = RegionNaming(VOCABULARY)
    naming.add(scores(3, 0, 3, 1), np.array([-1, 0, -1, 2]))
    assert naming.figures().top1 == {"all": 0.5, "frequent": 1.0, "rare": 0.0, "unseen": 0.0}


def test_batches_count_as_one_whole() -> None:
    random = np.random.default_rng(0)
    said, true = random.random((50, 4)), random.integers(-1, 4, 50)
    whole, parts = RegionNaming(VOCABULARY), RegionNaming(VOCABULARY)
    whole.add(said, true)
    for start in range(0, 50, 7):
        parts.add(said[start : start + 7], true[start : start + 7])
    assert parts.figures() == whole.figures()
    right = [s.argmax() == t for s, t in zip(said, true, strict=True) if t >= 0]
    assert whole.figures().top1["all"] == pytest.approx(sum(right) / len(right))
