"""hotcoco's figures are those of LVIS's API, or are not used."""

import codecs
import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lvis_sets import LvisSet, perturbed_sample, random_set
from numpy.typing import NDArray
from pycocotools import mask as codec

from regionspot_core.scoring.figures import METRICS
from regionspot_evaluate.scoring.figures import (
    BOTH,
    Iou,
    Protocol,
    Score,
    largest_difference,
    one_protocol,
)
from regionspot_evaluate.scoring.scorer import CocoScorer, LvisScorer

TOLERANCE = 1e-6
Json = dict[str, Any]


def scores_of(scorer: LvisScorer, found: Path, protocol: Protocol) -> dict[Iou, Score]:
    return scorer.score_all(found, ious=BOTH, protocols=(protocol,))[protocol]


def rare_ap(score: Score, rare_K: NDArray[np.bool_]) -> float | None:
    assert score.class_ap_K is not None
    found = score.class_ap_K[rare_K & ~np.isnan(score.class_ap_K)]
    return float(found.mean()) if len(found) else None


def both_scorers(made: LvisSet, folder: Path, protocol: Protocol = "lvis") -> list[Score]:
    """``fast``'s scores of boxes and masks, after they were held against the reference's."""
    truth, found = made.write(folder)
    fast = scores_of(LvisScorer(truth), found, protocol)
    reference = scores_of(LvisScorer(truth, scorer="reference"), found, protocol)
    for iou, score in fast.items():
        assert tuple(score.values) == METRICS
        assert largest_difference(score.values, reference[iou].values) <= TOLERANCE, iou
        assert reference[iou].scorer == "reference"
        assert score.counts == reference[iou].counts
        assert score.class_ap_K == pytest.approx(reference[iou].class_ap_K, nan_ok=True)
        rare = np.array([category["frequency"] == "r" for category in made.categories])
        assert rare_ap(score, rare) == pytest.approx(score["APr"])
    return list(fast.values())


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "protocol"), [(0, "lvis"), (1, "lvis-fixed")])
def test_the_lvis_sample(seed: int, protocol: Protocol, lvis_sample: Path, tmp_path: Path) -> None:
    truth = json.loads(lvis_sample.read_bytes())
    found = tmp_path / "detections.json"
    found.write_text(json.dumps(perturbed_sample(truth, seed)))
    fast = scores_of(LvisScorer(lvis_sample), found, protocol)
    theirs = scores_of(LvisScorer(lvis_sample, scorer="reference"), found, protocol)
    for iou, score in fast.items():
        assert score.scorer == "fast"
        assert largest_difference(score.values, theirs[iou].values) <= TOLERANCE
        assert all(0.05 < value < 0.95 for value in score.values.values() if value is not None)
        assert None not in score.values.values()


@pytest.mark.parametrize("seed", range(12))
def test_generated_sets(seed: int, tmp_path: Path) -> None:
    """Crowd, boxes without an area, ties, all lists, an image with nothing."""
    for score in both_scorers(random_set(seed), tmp_path):
        assert score.scorer == "fast"
        assert score["AP"]


def test_more_images_than_a_batch(tmp_path: Path) -> None:
    """hotcoco is given 1,024 at a time. Of six images with regions three are among the first."""
    made = random_set(0)
    nothing = made.images[0] | {"neg_category_ids": [], "not_exhaustive_category_ids": []}
    made.images += [nothing | {"id": -number} for number in range(1_021)]
    for score in both_scorers(made, tmp_path):
        assert score.scorer == "fast"
        assert score["AP"]


@pytest.mark.parametrize("seed", range(4))
def test_more_than_three_hundred_an_image(seed: int, tmp_path: Path) -> None:
    for score in both_scorers(random_set(seed, images=3, found=1500), tmp_path):
        assert score.scorer == "fast"
        assert score.counts.detections == 1500
        assert score.counts.kept == 600


def test_a_class_without_ground_truth(tmp_path: Path) -> None:
    made = LvisSet.empty(2, 2)
    made.images[0]["neg_category_ids"] = [made.categories[1]["id"]]
    made.annotate(0, 0, [0, 0, 20, 20])
    made.detect(0, 0, [0, 0, 20, 20], 0.5)
    made.detect(0, 1, [0, 0, 20, 20], 0.9)
    box, _ = both_scorers(made, tmp_path)
    assert box["AP"] == pytest.approx(1)
    assert box["APc"] is None


def test_a_region_without_an_area_is_none(tmp_path: Path) -> None:
    """LVIS's API leaves it out, and then the class is not annotated in its image either."""
    made = LvisSet.empty(1, 2)
    made.annotate(0, 0, [0, 0, 20, 20])
    made.annotate(0, 1, [5, 5, 0, 20])
    made.detect(0, 0, [0, 0, 20, 20], 0.5)
    made.detect(0, 0, [0, 0, 20, 0], 0.9)
    made.detect(0, 1, [0, 0, 20, 20], 0.9)
    box, _ = both_scorers(made, tmp_path)
    assert box["AP"] == pytest.approx(1)
    assert box.counts.judged == 2


def test_nothing_that_is_judged(tmp_path: Path) -> None:
    made = LvisSet.empty(2, 2)
    made.annotate(0, 0, [0, 0, 20, 20])
    made.detect(1, 1, [0, 0, 20, 20], 0.9)
    for score in both_scorers(made, tmp_path):
        assert score["AP"] == 0
        assert score.counts.judged == 0


def test_what_hotcoco_finds_otherwise_is_left_to_the_reference(tmp_path: Path) -> None:
    made = random_set(0)
    made.annotate(1, 0, [0, 0, 20, 20], ignore=1)
    for score in both_scorers(made, tmp_path):
        assert score.scorer == "reference"
        assert "key ignore" in str(score.fallback)


@pytest.mark.parametrize("start", [0, -7])
def test_figures_do_not_depend_on_how_annotations_are_numbered(start: int, tmp_path: Path) -> None:
    made = random_set(0)
    expected = both_scorers(made, tmp_path)
    for number, annotation in enumerate(made.annotations):
        annotation["id"] = start + number
    assert both_scorers(made, tmp_path) == expected
    made = LvisSet.empty(1, 1)
    made.annotate(0, 0, [0, 0, 20, 20], id=0)
    made.detect(0, 0, [0, 0, 20, 20], 0.9)
    assert [score["AP"] for score in both_scorers(made, tmp_path)] == pytest.approx([1, 1])


def test_more_than_three_hundred_of_several_classes_by_fixed_ap(tmp_path: Path) -> None:
    """hotcoco keeps an image's best 300 of all classes together."""
    made = LvisSet.empty(1, 3)
    made.images[0]["neg_category_ids"] = [14, 21]
    made.annotate(0, 0, [0, 0, 20, 20])
    for absent, count in ((1, 200), (2, 150)):
        for _ in range(count):
            made.detect(0, absent, [40, 40, 20, 20], 0.9)
    made.detect(0, 0, [0, 0, 20, 20], 0.1)
    for score in both_scorers(made, tmp_path, "lvis-fixed"):
        assert score.scorer == "fast"
        assert score["AP"] == pytest.approx(1)


@pytest.mark.parametrize("crowd", [45, 100, 250])
@pytest.mark.parametrize("seed", range(2))
def test_images_of_more_than_hotcoco_takes(seed: int, crowd: int, tmp_path: Path) -> None:
    """It takes 300 an image: so many more of each class are shared out among several."""
    random = np.random.default_rng(seed)
    made = random_set(seed, images=3, classes=8)
    for image, category, _ in product(range(3), range(8), range(crowd)):
        box = [float(value) for value in random.integers(1, 9, 4) * 4]
        made.detect(image, category, box, float(random.integers(0, 9)) / 8)
    for score in both_scorers(made, tmp_path, "lvis-fixed"):
        assert score.scorer == "fast"
        assert score.counts.kept == 60 + 3 * 8 * crowd


def test_more_than_three_hundred_of_a_class_in_an_image_by_fixed_ap(tmp_path: Path) -> None:
    made = LvisSet.empty(1, 1)
    made.annotate(0, 0, [0, 0, 20, 20])
    for _ in range(300):
        made.detect(0, 0, [40, 40, 20, 20], 0.9)
    made.detect(0, 0, [0, 0, 20, 20], 0.5)
    for score in both_scorers(made, tmp_path, "lvis-fixed"):
        assert score.scorer == "reference"
        assert "more than 300 detections of one class" in str(score.fallback)
        assert score["AR"] == pytest.approx(1)
    for score in both_scorers(made, tmp_path, "lvis"):
        assert score.scorer == "fast"
        assert score["AR"] == 0


@pytest.mark.parametrize("found", [60, 1_500])
def test_masks_without_boxes(found: int, tmp_path: Path) -> None:
    """Their areas are the masks', as LVIS's API has it; with boxes they are the boxes'."""
    made = random_set(3, found=found)
    for entry in made.detections:
        del entry["bbox"]
    truth, results = made.write(tmp_path)
    fast = LvisScorer(truth).score(results, iou="segm")
    assert fast.scorer == "fast"
    theirs = LvisScorer(truth, scorer="reference").score(results, iou="segm")
    assert largest_difference(fast.values, theirs.values) <= TOLERANCE


def test_other_forms_of_masks(tmp_path: Path) -> None:
    """Polygons, runs that are not compressed, and ids with a point are what they mean."""
    made = random_set(4)
    truth, found = made.write(tmp_path)
    expected = LvisScorer(truth).score(found, iou="segm")
    for number, entry in enumerate(made.detections):
        x, y, w, h = entry["bbox"]
        if number % 2:
            entry["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
        entry["image_id"] = float(entry["image_id"])
    found.write_text(json.dumps(made.detections))
    assert LvisScorer(truth).score(found, iou="segm").values == expected.values


def test_protocols_are_not_mixed(tmp_path: Path) -> None:
    truth, found = random_set(0).write(tmp_path)
    scorer = LvisScorer(truth)
    standard, fixed = (scorer.score(found, iou="bbox", protocol=p) for p in ("lvis", "lvis-fixed"))
    assert one_protocol([standard, standard]) == "LVIS standard, at most 300 detections an image"
    assert one_protocol([fixed]) == "LVIS fixed AP, at most 10,000 detections a class"
    with pytest.raises(ValueError, match="several protocols"):
        one_protocol([standard, fixed])


def as_polygons(mask: Json) -> list[list[float]]:
    x, y, width, height = codec.toBbox(mask).tolist()
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


def as_run_lengths(mask: Json) -> Json:
    flat = codec.decode(mask).flatten(order="F")
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat]))).tolist()
    counts = np.diff([0, *edges, len(flat)]).tolist()
    return {"size": mask["size"], "counts": counts}


@pytest.mark.parametrize("form", [as_polygons, as_run_lengths])
@pytest.mark.parametrize("boxes", [True, False])
def test_masks_of_any_form_are_scored_by_the_packages_too(
    form: Callable[[Json], object], boxes: bool, tmp_path: Path
) -> None:
    made = random_set(3)
    truth, found = made.write(tmp_path)
    expected = LvisScorer(truth, scorer="reference").score(found, iou="segm")
    entries = []
    for entry in made.detections:
        if codec.area(entry["segmentation"]):
            other = entry | {"segmentation": form(entry["segmentation"])}
            entries.append(other if boxes else {k: v for k, v in other.items() if k != "bbox"})
    found.write_bytes(codecs.BOM_UTF8 + json.dumps(entries).encode())
    score = LvisScorer(truth, scorer="reference").score(found, iou="segm")
    assert score.values == pytest.approx(expected.values)
    scores = CocoScorer(truth, ious=("segm",)).score_all(found, ious=("segm",))
    assert scores["coco"]["segm"]["AP"]


def test_no_detection_at_all_is_a_result(tmp_path: Path) -> None:
    truth, found = random_set(0).write(tmp_path)
    found.write_text("[]")
    for package in ("fast", "reference"):
        coco = CocoScorer(truth, scorer=package)
        assert [each["AP"] for each in coco.score_all(found, ious=BOTH)["coco"].values()] == [0, 0]
        scorer = LvisScorer(truth, scorer=package)
        scores = scorer.score_all(found, ious=BOTH, protocols=("lvis", "lvis-fixed"))
        for of_protocol in scores.values():
            for score in of_protocol.values():
                assert (score["AP"], score["AR"], score.counts.detections) == (0, 0, 0)
