"""Boxes scored in memory: the figures of the ``lvis`` package on a file that says the same."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from regionspot_core.datasets.class_lists import ClassLists
from regionspot_core.datasets.vocabulary import Vocabulary
from regionspot_core.imaging.boxes import xyxy_to_xywh
from regionspot_core.scoring.figures import METRICS
from regionspot_core.scoring.lvis import NamedBoxes, score_boxes
from regionspot_evaluate.scoring.scorer import LvisScorer

CLASSES, IMAGES, SIDE = 10, 40, 200
VOCABULARY = Vocabulary(
    names=tuple(f"class {k}" for k in range(CLASSES)),
    ids=tuple(3 * k + 2 for k in range(CLASSES)),
    frequencies=tuple("rcf"[k % 3] for k in range(CLASSES)),
)
UNSAID = Vocabulary(VOCABULARY.names, VOCABULARY.ids)


class Set:
    """Boxes of random images, named near the truth and wrongly; many scores tie."""

    def __init__(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        owner = np.repeat(np.arange(IMAGES), random.integers(1, 6, IMAGES))
        corners = np.sort(random.random((len(owner), 2, 2)).astype(np.float32), axis=1) * SIDE
        classes = random.integers(0, CLASSES, len(owner))
        self.truth = NamedBoxes(owner, corners.reshape(-1, 4), classes)
        present = [set(classes[owner == image].tolist()) for image in range(IMAGES)]
        absent = [sorted(set(range(CLASSES)) - each) for each in present]
        self.negative = ClassLists.of([random.permutation(each)[:3] for each in absent])
        self.not_exhaustive = ClassLists.of(
            [sorted(each)[:1] if image % 2 else [] for image, each in enumerate(present)]
        )
        named = np.repeat(np.arange(len(owner)), 3)
        noise = random.normal(0, 4, (len(named), 4)).astype(np.float32)
        boxes = np.sort((self.truth.box[named] + noise).reshape(-1, 2, 2), axis=1)
        right = random.random(len(named)) < 0.5
        said = np.where(right, classes[named], random.integers(0, CLASSES, len(named)))
        self.found = NamedBoxes(owner[named], boxes.reshape(-1, 4), said)
        self.scores = np.round(random.random(len(named)), 1).astype(np.float32)

    def score(self, **changes: Any) -> dict[str, float | None]:
        given = {
            "images": IMAGES,
            "vocabulary": VOCABULARY,
            "negative": self.negative,
            "not_exhaustive": self.not_exhaustive,
        }
        return score_boxes(self.truth, self.found, self.scores, **{**given, **changes}).values

    def annotations(self, negative: ClassLists, not_exhaustive: ClassLists) -> dict[str, Any]:
        """The same as LVIS's file has it, ids and all."""
        ids = np.array(VOCABULARY.ids)
        images = [
            {
                "id": 1000 + 3 * image,
                "height": SIDE,
                "width": SIDE,
                "neg_category_ids": ids[negative[image]].tolist(),
                "not_exhaustive_category_ids": ids[not_exhaustive[image]].tolist(),
            }
            for image in reversed(range(IMAGES))
        ]
        annotations = [
            {"id": 7 + 2 * number, "area": box[2] * box[3], "segmentation": [], "iscrowd": 0} | each
            for number, (each, box) in enumerate(entries(self.truth))
        ]
        categories = [
            {"id": class_id, "name": name, "frequency": frequency}
            for class_id, name, frequency in zip(
                VOCABULARY.ids, VOCABULARY.names, VOCABULARY.frequencies, strict=True
            )
        ]
        return {"images": images, "annotations": annotations, "categories": categories}

    def results(self) -> list[dict[str, Any]]:
        scores = self.scores.astype(float)
        return [
            {**each, "score": score}
            for (each, _), score in zip(entries(self.found), scores.tolist(), strict=True)
        ]


def entries(boxes: NamedBoxes) -> list[tuple[dict[str, Any], list[float]]]:
    rows = zip(boxes.image, xyxy_to_xywh(boxes.box).tolist(), boxes.class_index, strict=True)
    return [
        (
            {"image_id": 1000 + 3 * int(image), "bbox": box, "category_id": VOCABULARY.ids[int(k)]},
            box,
        )
        for image, box, k in rows
    ]


def by_the_lvis_package(
    folder: Path, made: Set, negative: ClassLists, not_exhaustive: ClassLists
) -> dict[str, float | None]:
    (folder / "lvis.json").write_text(json.dumps(made.annotations(negative, not_exhaustive)))
    (folder / "results.json").write_text(json.dumps(made.results()))
    return LvisScorer(folder / "lvis.json").score(folder / "results.json", iou="bbox").values


@pytest.mark.parametrize("seed", range(4))
def test_figures_are_those_of_the_lvis_package(seed: int, tmp_path: Path) -> None:
    made = Set(seed)
    expected = by_the_lvis_package(tmp_path, made, made.negative, made.not_exhaustive)
    assert all(value is not None and 0 < value < 1 for value in expected.values())
    # hotcoco's own sums differ in the last bits.
    assert made.score() == pytest.approx(expected, rel=1e-12)
    without = made.score(vocabulary=UNSAID)
    assert without["AP"] == pytest.approx(expected["AP"], rel=1e-12)
    assert [without[name] for name in ("APr", "APc", "APf")] == [None] * 3


def test_where_all_are_exhaustive(tmp_path: Path) -> None:
    made, nowhere = Set(5), ClassLists.of([[]] * IMAGES)
    expected = by_the_lvis_package(tmp_path, made, made.negative, nowhere)
    assert made.score(not_exhaustive=None) == pytest.approx(expected, rel=1e-12)
    assert made.score()["AP"] != pytest.approx(expected["AP"], rel=1e-3)


@pytest.mark.parametrize("seed", range(2))
def test_without_negative_classes_every_class_counts_as_in_coco(seed: int) -> None:
    """pycocotools' figures, all twelve."""
    made, nowhere = Set(seed), ClassLists.of([[]] * IMAGES)
    found = made.score(negative=None, not_exhaustive=None)
    truth = COCO()
    truth.dataset = made.annotations(nowhere, nowhere)
    truth.createIndex()
    evaluation = COCOeval(truth, truth.loadRes(made.results()), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert list(found.values()) == pytest.approx(evaluation.stats.tolist(), rel=1e-12)
    assert found["AP"]
    federated = made.score()["AP"]
    assert federated is not None
    assert found["AP"] < federated


@given(st.integers(0, 9))
def test_sure_and_right_boxes_score_one(seed: int) -> None:
    made = Set(seed)
    found = score_boxes(
        made.truth,
        made.truth,
        np.ones(len(made.truth.image)),
        images=IMAGES,
        vocabulary=VOCABULARY,
        negative=made.negative,
        not_exhaustive=made.not_exhaustive,
    ).values
    assert found.keys() == set(METRICS)
    assert found["AP"] == pytest.approx(1)


def test_it_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    Set(0).score()
    assert capfd.readouterr() == ("", "")
