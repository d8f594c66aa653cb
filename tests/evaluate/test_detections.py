"""Detections: the best pairs against a plain sort, and a results file that is whole or absent."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from small_evaluation import results_in

from regionspot_core.datasets.vocabulary import Vocabulary
from regionspot_core.scoring.lvis import best_pairs
from regionspot_evaluate.folder.detections import ResultsFile, image_detections
from regionspot_evaluate.proposals.boxes import Proposals

VOCABULARY = Vocabulary(names=("a", "b", "c"), ids=(90, 4, 17))
# Few values, so that many scores tie.
tied_scores = arrays.arrays(
    np.float32,
    st.tuples(st.integers(0, 5), st.integers(1, 4)),
    elements=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
)


def proposals(boxes: list[list[float]], scores: list[float]) -> Proposals:
    return Proposals(
        np.array(boxes, dtype=np.float32).reshape(-1, 4),
        np.array(scores, dtype=np.float32),
        np.full(len(scores), -1),
    )


@given(tied_scores, st.integers(1, 30))
def test_best_pairs_are_those_of_a_plain_sort(scores: np.ndarray, limit: int) -> None:
    pairs = [(r, k) for r in range(scores.shape[0]) for k in range(scores.shape[1])]
    pairs.sort(key=lambda pair: (-scores[pair], pair))
    regions, classes = best_pairs(scores, limit=limit)
    assert list(zip(regions.tolist(), classes.tolist(), strict=True)) == pairs[:limit]


def test_scores_are_products_and_boxes_are_sides() -> None:
    entries = image_detections(
        7,
        proposals([[10, 20, 13, 24], [0, 0, 0.3334, 100.25]], [0.5, 1.0]),
        np.array([[0.75, 0.125, 0.125], [0.25, 0.5, 0.25]]),
        vocabulary=VOCABULARY,
        limit=3,
    )
    assert entries == [
        {"image_id": 7, "category_id": 4, "bbox": [0, 0, 0.333, 100.25], "score": 0.5},
        {"image_id": 7, "category_id": 90, "bbox": [10, 20, 3, 4], "score": 0.375},
        {"image_id": 7, "category_id": 90, "bbox": [0, 0, 0.333, 100.25], "score": 0.25},
    ]


def test_an_unsure_proposal_loses_to_a_sure_one() -> None:
    entries = image_detections(
        1,
        proposals([[0, 0, 1, 1], [0, 0, 2, 2]], [0.125, 1.0]),
        np.array([[1.0, 0.0, 0.0], [0.25, 0.5, 0.25]]),
        vocabulary=VOCABULARY,
        limit=1,
    )
    assert [entry["bbox"] for entry in entries] == [[0, 0, 2, 2]]


def test_masks_go_with_their_region() -> None:
    masks = [{"size": [2, 2], "counts": "first"}, {"size": [2, 2], "counts": "second"}]
    entries = image_detections(
        1,
        proposals([[0, 0, 1, 1], [0, 0, 2, 2]], [1, 1]),
        np.array([[0.25, 0.0, 0.0], [0.5, 0.0, 1.0]]),
        vocabulary=VOCABULARY,
        limit=3,
        masks=masks,
    )
    assert [entry["segmentation"]["counts"] for entry in entries] == ["second", "second", "first"]


def test_no_proposals_no_detections() -> None:
    none = proposals([], [])
    assert (
        image_detections(1, none, np.zeros((0, 3)), vocabulary=VOCABULARY, limit=300, masks=[])
        == []
    )


@pytest.mark.parametrize(
    "batches",
    [
        [],
        [[]],
        [[{"a": 1}]],
        [[], [{"a": 1}, {"b": [0.5, 2]}], [], [{"segmentation": {"counts": '"\\図'}}]],
    ],
)
def test_the_file_is_json_of_all_entries(batches: list[list[dict]], tmp_path: Path) -> None:
    path = tmp_path / "results.json.gz"
    with ResultsFile.written(path) as results:
        for batch in batches:
            results.add(batch)
            assert not path.exists()
    assert results_in(path) == [e for batch in batches for e in batch]
    assert results.count == sum(map(len, batches))
    assert list(tmp_path.iterdir()) == [path]


def add_and_stop(path: Path) -> None:
    with ResultsFile.written(path) as results:
        results.add([{"old": 1}])
        raise KeyboardInterrupt


@pytest.mark.parametrize("before", [None, "[]\n"])
def test_after_an_error_no_file_takes_the_name(before: str | None, tmp_path: Path) -> None:
    path = tmp_path / "results.json.gz"
    if before is not None:
        path.write_text(before)
    with pytest.raises(KeyboardInterrupt):
        add_and_stop(path)
    assert (path.read_text() if path.exists() else None) == before


def test_the_next_run_starts_afresh(tmp_path: Path) -> None:
    path = tmp_path / "results.json.gz"
    with pytest.raises(KeyboardInterrupt):
        add_and_stop(path)
    with ResultsFile.written(path) as results:
        results.add([{"new": 1}])
    assert results_in(path) == [{"new": 1}]


@pytest.mark.parametrize("figure", [float("nan"), float("inf")])
def test_figures_json_cannot_say_are_refused(figure: float, tmp_path: Path) -> None:
    path = tmp_path / "results.json.gz"
    with (
        pytest.raises(ValueError, match="not finite"),
        ResultsFile.written(path) as results,
    ):
        results.add([{"score": figure}])
    assert not path.exists()
