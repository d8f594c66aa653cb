"""Figures by COCO's rules are pycocotools' own: generated sets, crowds, ties, crowded images."""

import io
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from lvis_sets import random_set
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from regionspot_core.scoring.figures import COCO_METRICS
from regionspot_evaluate.scoring.figures import BOTH, Iou
from regionspot_evaluate.scoring.scorer import CocoScorer


def pycocotools_figures(truth: Path, found: Path, iou: Iou) -> list[float | None]:
    """The figures of the published package, which reads both files by itself."""
    with redirect_stdout(io.StringIO()):
        annotated = COCO(str(truth))
        evaluation = COCOeval(annotated, annotated.loadRes(str(found)), iou)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [None if value < 0 else value for value in evaluation.stats.tolist()]


@pytest.mark.parametrize(
    ("seed", "images", "found"), [*((seed, 5, 60) for seed in range(6)), (6, 3, 900), (9, 2, 1500)]
)
def test_coco_is_pycocotools(seed: int, images: int, found: int, tmp_path: Path) -> None:
    """With LVIS's lists and areas of all sizes too; in the last more than 100 a class and image."""
    made = random_set(seed, images=images, found=found)
    random = np.random.default_rng(seed)
    for annotation in made.annotations:
        annotation["area"] = float(random.choice([0, 500, 5_000, 50_000, 2e10]))
        annotation["ignore"] = int(random.integers(0, 2))
    if seed % 2:
        for detection in made.detections:
            detection["bbox"] = [value + 0.25 for value in detection["bbox"]]
    truth, detections = made.write(tmp_path)
    fast, reference = (
        CocoScorer(truth, scorer=package).score_all(detections, ious=BOTH)["coco"]
        for package in ("fast", "reference")
    )
    for iou in BOTH:
        expected = pycocotools_figures(truth, detections, iou)
        assert fast[iou].package == "hotcoco"
        assert reference[iou].package == "pycocotools"
        for score in (fast[iou], reference[iou]):
            assert [score[name] for name in COCO_METRICS] == pytest.approx(expected, abs=1e-6)
            assert score.counts.judged == score.counts.kept
        assert fast[iou].class_ap_K == pytest.approx(reference[iou].class_ap_K, nan_ok=True)
        assert fast[iou].counts == reference[iou].counts
        assert fast[iou]["AP"]


def test_a_pair_of_class_and_image_keeps_its_best_hundred(tmp_path: Path) -> None:
    made = random_set(1, images=2, found=1500)
    score = CocoScorer(made.write(tmp_path)[0]).score(tmp_path / "detections.json", iou="bbox")
    of_class = [
        sum(each["category_id"] == category["id"] for each in made.detections)
        for category in made.categories
    ]
    assert score.counts.kept == sum(min(100, count) for count in of_class) < 1500
