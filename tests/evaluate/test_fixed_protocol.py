"""LVIS fixed AP, held against plain code that follows the paper's words."""

import operator
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from file_events import watched
from lvis_sets import Json, LvisSet, random_set
from pycocotools import mask as codec

from regionspot_core.scoring.figures import METRICS
from regionspot_evaluate.scoring.figures import BOTH, FIXED_DETECTIONS, LVIS_PROTOCOLS, Package
from regionspot_evaluate.scoring.scorer import LvisScorer

THRESHOLDS = [0.5 + 0.05 * n for n in range(10)]
SIZES = {"": (0, 1e10), "s": (0, 32**2), "m": (32**2, 96**2), "l": (96**2, 1e10)}


class Naive:
    """A class at a time, an area range at a time, a threshold at a time."""

    def __init__(self, made: LvisSet, limit: int) -> None:
        self.images = {image["id"]: image for image in made.images}
        self.categories = made.categories
        self.truth = [entry for entry in made.annotations if entry["area"] > 0]
        best: list[tuple[int, Json]] = []
        for category in made.categories:
            own = [
                (number, entry)
                for number, entry in enumerate(made.detections)
                if entry["category_id"] == category["id"]
            ]
            best += sorted(own, key=lambda pair: -pair[1]["score"])[:limit]
        self.found = defaultdict[tuple[int, int], list[Json]](list)
        for _, entry in sorted(best, key=operator.itemgetter(0)):
            if entry["bbox"][2] * entry["bbox"][3] > 0:
                self.found[entry["image_id"], entry["category_id"]].append(entry)

    def figures(self) -> dict[str, float | None]:
        precision: dict[tuple[int, str, float], float] = {}
        recall: dict[tuple[int, str, float], float] = {}
        for category in self.categories:
            for size in SIZES:
                for threshold in THRESHOLDS:
                    outcome = self.outcome(category["id"], size, threshold)
                    if outcome is not None:
                        key = (category["id"], size, threshold)
                        precision[key], recall[key] = outcome
        frequency = {category["id"]: category["frequency"] for category in self.categories}

        def mean(values: dict[tuple[int, str, float], float], size: str = "", **only: object):  # type: ignore[no-untyped-def]
            chosen = [
                value
                for (category, its_size, threshold), value in values.items()
                if its_size == size
                and only.get("frequency", frequency[category]) == frequency[category]
                and only.get("threshold", threshold) == threshold
            ]
            return float(np.mean(chosen)) if chosen else None

        figures = {"AP": mean(precision), "AR": mean(recall)}
        figures |= {f"AP{size}": mean(precision, size) for size in "sml"}
        figures |= {f"AR{size}": mean(recall, size) for size in "sml"}
        figures |= {f"AP{mark}": mean(precision, frequency=mark) for mark in "rcf"}
        figures["AP50"] = mean(precision, threshold=THRESHOLDS[0])
        figures["AP75"] = mean(precision, threshold=THRESHOLDS[5])
        return figures

    def outcome(self, category: int, size: str, threshold: float) -> tuple[float, float] | None:
        """AP over 101 recall points, and recall; None where there is no instance."""
        low, high = SIZES[size]
        marks: list[tuple[float, bool]] = []
        instances = 0
        for image_id, image in sorted(self.images.items()):
            truth = [
                t for t in self.truth if (t["image_id"], t["category_id"]) == (image_id, category)
            ]
            # Those outside the range come last, and match only what nothing else does.
            truth.sort(key=lambda t: not low <= t["area"] <= high)
            instances += sum(low <= t["area"] <= high for t in truth)
            if not truth and category not in image["neg_category_ids"]:
                continue
            taken: set[int] = set()
            for one in sorted(self.found[image_id, category], key=lambda d: -d["score"]):
                match = self.match(one, truth, taken, threshold, (low, high))
                if match is not None:
                    taken.add(match)
                    if low <= truth[match]["area"] <= high:
                        marks.append((one["score"], True))
                    continue
                area = one["bbox"][2] * one["bbox"][3]
                unsure = category in image["not_exhaustive_category_ids"]
                if low <= area <= high and not unsure:
                    marks.append((one["score"], False))
        if not instances:
            return None
        marks.sort(key=lambda mark: -mark[0])
        right = np.cumsum([good for _, good in marks])
        precision = right / np.arange(1, len(marks) + 1)
        points = [
            max(precision[right >= point * instances], default=0.0)
            for point in np.linspace(0, 1, 101)
        ]
        return float(np.mean(points)), (right[-1] / instances if len(marks) else 0.0)

    def match(
        self, one: Json, truth: list[Json], taken: set[int], threshold: float, area: tuple
    ) -> int | None:
        best, chosen = threshold, None
        for n, true in enumerate(truth):
            inside = area[0] <= true["area"] <= area[1]
            if n in taken:
                continue
            if chosen is not None and not inside and area[0] <= truth[chosen]["area"] <= area[1]:
                break
            overlap = codec.iou([one["bbox"]], [true["bbox"]], [0])[0, 0]
            if overlap >= best - 1e-12:
                best, chosen = overlap, n
        return chosen


def leave_room(made: LvisSet, places: int) -> None:
    """Fill all of two classes' places but so many with surer detections that nobody judges.

    They are of the first image, of which nothing is said.
    """
    made.images[0]["neg_category_ids"], made.images[0]["not_exhaustive_category_ids"] = [], []
    for category in range(2):
        made.detect(0, category, [0, 0, 8, 8], 1.0)
        made.detections += made.detections[-1:] * (FIXED_DETECTIONS - places - 1)


@pytest.mark.parametrize("scorer", ["fast", "reference"])
@pytest.mark.parametrize("places", [7, FIXED_DETECTIONS])
@pytest.mark.parametrize("seed", range(4))
def test_it_is_what_plain_code_finds(
    seed: int, places: int, scorer: Package, tmp_path: Path
) -> None:
    made = random_set(seed, images=4, classes=5, found=80)
    for entry in made.detections:
        entry["score"] *= 0.99
    if places < FIXED_DETECTIONS:
        leave_room(made, places)
    truth, found = made.write(tmp_path)
    score = LvisScorer(truth, scorer=scorer).score(found, iou="bbox", protocol="lvis-fixed")
    assert score.scorer == scorer
    assert score.counts.kept == sum(
        min(FIXED_DETECTIONS, sum(d["category_id"] == c["id"] for d in made.detections))
        for c in made.categories
    )
    expected = Naive(made, FIXED_DETECTIONS).figures()
    assert expected["AP"]
    for name in METRICS:
        assert score[name] == pytest.approx(expected[name], abs=1e-9), name


def test_an_image_may_have_any_number(tmp_path: Path) -> None:
    """The three hundred and first detection of an image counts, where standard AP ends."""
    assert FIXED_DETECTIONS == 10_000
    made = LvisSet.empty(1, 2)
    made.annotate(0, 0, [0, 0, 20, 20])
    for _ in range(300):
        made.detect(0, 1, [0, 0, 20, 20], 0.9)
    made.detect(0, 0, [0, 0, 20, 20], 0.1)
    truth, found = made.write(tmp_path)
    scorer = LvisScorer(truth)
    assert scorer.score(found, iou="bbox", protocol="lvis-fixed")["AP"] == pytest.approx(1)
    assert scorer.score(found, iou="bbox", protocol="lvis")["AP"] == 0


@pytest.mark.parametrize("scorer", ["fast", "reference"])
def test_both_protocols_of_one_reading(scorer: Package, tmp_path: Path) -> None:
    truth, found = random_set(2, found=150).write(tmp_path)
    one = LvisScorer(truth, scorer=scorer)
    alone = {(i, p): one.score(found, iou=i, protocol=p) for i in BOTH for p in LVIS_PROTOCOLS}
    opened: list[str] = []
    with watched(opened.append):
        together = one.score_all(found, ious=BOTH, protocols=("lvis-fixed", "lvis"))
    # The LVIS API changes what it is given: it has a reading of its own for each protocol.
    assert opened.count(str(found)) == {"fast": 1, "reference": 1 + 2}[scorer]
    assert list(together) == ["lvis-fixed", "lvis"]
    for (iou, protocol), score in alone.items():
        assert together[protocol][iou] == score
        assert score.protocol == LVIS_PROTOCOLS[protocol]


def test_a_class_keeps_its_best_of_all_images(tmp_path: Path) -> None:
    made = LvisSet.empty(3, 2)
    leave_room(made, 3)
    for image in range(1, 3):
        made.annotate(image, 0, [0, 0, 20, 20])
        for score in (0.9, 0.8):
            made.detect(image, 1, [30, 30, 20, 20], score)
    made.detect(1, 0, [30, 30, 20, 20], 0.7)
    made.detect(2, 0, [30, 30, 20, 20], 0.6)
    made.detect(2, 0, [0, 0, 20, 20], 0.5)
    made.detect(1, 0, [0, 0, 20, 20], 0.5)  # of the same score, and later in the file
    truth, found = made.write(tmp_path)
    score = LvisScorer(truth).score(found, iou="bbox", protocol="lvis-fixed")
    # One of two found, at recall points 0 to 0.5, third of three.
    assert score["AP"] == pytest.approx(51 / 101 / 3)
    assert score["AR"] == pytest.approx(1 / 2)
    assert score.counts.kept == 2 * FIXED_DETECTIONS
