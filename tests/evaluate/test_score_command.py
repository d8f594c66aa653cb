"""`regionspot evaluate score`, and COCO's protocol behind it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lvis import LVISEval
from lvis_sets import LvisSet, random_set

from regionspot_core.errors import AnnotationError
from regionspot_core.scoring.figures import METRICS
from regionspot_evaluate.scoring.figures import largest_difference
from regionspot_evaluate.scoring.scorer import CocoScorer, LvisScorer

Regionspot = Callable[..., Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random_set(2).write(tmp_path)
    return tmp_path


COMMAND = ["evaluate", "score", "--annotations", "annotations.json"]
COMMAND += ["--detections", "detections.json"]


def test_table_and_json(regionspot: Regionspot, folder: Path) -> None:
    done = regionspot(*COMMAND, "--iou", "bbox,segm", "--check", "--json", "score.json", cwd=folder)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert "× 100, LVIS standard, at most 300 detections an image (hotcoco)" in lines[0]
    values = json.loads((folder / "score.json").read_text())
    assert values["protocol"] == "LVIS standard, at most 300 detections an image"
    assert values["scorer"] == "hotcoco"
    assert values["max_difference_to_reference"] <= 1e-6
    scorer = LvisScorer(folder / "annotations.json", scorer="reference")
    for iou, label in (("bbox", "box"), ("segm", "mask")):
        expected = scorer.score(folder / "detections.json", iou=iou)
        assert values[iou] == pytest.approx(expected.values)
        row = next(line.split() for line in lines if line.startswith(label))
        shown = ["–" if expected[m] is None else f"{100 * expected[m]:.1f}" for m in METRICS]
        assert row[1:] == shown
    counts = values["counts"]
    assert (counts["images"], counts["detections"], counts["kept"]) == (6, 60, 60)
    assert f"60 in the file, {counts['kept']} within the limit" in done.stdout
    assert f"{counts['judged']} detections of a class" in done.stdout


@pytest.mark.parametrize("record", ["own", "of another version of the annotations", "damaged"])
def test_an_evaluations_results_are_scored_on_its_images(
    regionspot: Regionspot, folder: Path, record: str
) -> None:
    """As `evaluate run` leaves them where a head had learnt from the other images."""
    annotations = json.loads((folder / "annotations.json").read_text())
    ids = [image["id"] for image in annotations["images"]]
    detections = json.loads((folder / "detections.json").read_text())
    some = [each for each in detections if each["image_id"] in ids[:4]]
    (folder / "detections.json").write_text(json.dumps(some))
    content = {"scored_images": ids[:4], "annotations": None if record == "own" else "0" * 64}
    if record == "damaged":
        content["scored_images"] = "1"
    (folder / "run.json").write_text(json.dumps(content))
    done = regionspot(*COMMAND, "--json", "score.json", cwd=folder)
    if record == "damaged":
        assert done.returncode == 2
        assert "run.json: scored_images: input should be a valid" in done.stderr
        return
    assert json.loads((folder / "score.json").read_text())["counts"]["images"] == 4
    assert "scoring the 4 of 6 images that run.json was made of" in done.stderr


def test_fixed_says_so(regionspot: Regionspot, folder: Path) -> None:
    done = regionspot(*COMMAND, "--protocol", "lvis-fixed", "--json", "score.json", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "LVIS fixed AP, at most 10,000 detections a class (hotcoco)" in done.stdout
    values = json.loads((folder / "score.json").read_text())
    assert values["protocol"] == "LVIS fixed AP, at most 10,000 detections a class"
    assert "segm" not in values


def test_the_reference_and_why(regionspot: Regionspot, folder: Path) -> None:
    done = regionspot(*COMMAND, "--scorer", "reference", cwd=folder)
    assert "(lvis)" in done.stdout
    assert "why not fast" not in done.stdout
    made = random_set(2)
    made.annotations[0]["ignore"] = 1
    made.write(folder)
    done = regionspot(*COMMAND, cwd=folder)
    assert "(lvis)" in done.stdout
    assert "hotcoco's figures would differ: an annotation has the key ignore" in done.stdout


def test_a_difference_is_said(
    regionspot: Regionspot, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No case is known; so the package that is checked against finds nothing here."""
    found = LVISEval.get_results
    monkeypatch.setattr(LVISEval, "get_results", lambda self: dict.fromkeys(found(self), 0.0))
    done = regionspot(*COMMAND, "--check", cwd=folder)
    assert done.returncode == 1
    assert "at most, over all figures" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--iou", "box"], "iou.0: input should be 'bbox' or 'segm', got 'box'"),
        (["--iou", ""], "--iou: expected a value, got an empty text"),
        (["--protocol", "loose"], "expected protocol lvis, lvis-fixed or coco, got 'loose'"),
        (["--scorer", "slow"], "scorer: input should be 'fast' or 'reference', got 'slow'"),
        (["--json", "none/score.json"], "--json none/score.json: expected an existing folder"),
        (["--annotations", "detections.json"], "detections.json: expected an object with lists"),
        (["--detections", "annotations.json"], "annotations.json: expected a list of detections"),
        (["--annotations", "."], "holds 2 JSON files; give one of them"),
        (["--detections", "."], "--detections .: expected a file, found a folder"),
    ],
)
def test_mistakes(arguments: list[str], message: str, regionspot: Regionspot, folder: Path) -> None:
    done = regionspot(*COMMAND, *arguments, cwd=folder)
    assert done.returncode == 2
    assert done.stdout == ""
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_rules_follow_from_the_annotations(regionspot: Regionspot, folder: Path) -> None:
    coco_file(random_set(2), folder)
    done = regionspot(*COMMAND, "--iou", "bbox,segm", "--check", "--json", "score.json", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "× 100, COCO, at most 100 detections a class and image (hotcoco)" in done.stdout
    words = " ".join(done.stdout.split())
    assert "COCO's rules, boxes and masks: image 100 has no neg_category_ids" in words
    assert max(map(len, done.stdout.splitlines())) <= 80
    values = json.loads((folder / "score.json").read_text())
    assert values["plan"]["protocols"] == ["coco"]
    assert values["max_difference_to_reference"] <= 1e-6
    done = regionspot(*COMMAND, "--protocol", "lvis", cwd=folder)
    assert done.returncode == 2
    assert "protocol lvis needs lists of the classes" in done.stderr
    assert "image 100 has no neg_category_ids" in done.stderr


def test_no_detection_is_a_result(regionspot: Regionspot, folder: Path) -> None:
    (folder / "detections.json").write_text("[]")
    done = regionspot(*COMMAND, "--json", "score.json", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert json.loads((folder / "score.json").read_text())["bbox"]["AP"] == 0


def coco_file(made: LvisSet, folder: Path) -> tuple[Path, Path]:
    for image in made.images:
        del image["neg_category_ids"], image["not_exhaustive_category_ids"]
    for category in made.categories:
        del category["frequency"]
    return made.write(folder)


def test_odinw_s_folder_and_its_annotation_zero(tmp_path: Path) -> None:
    """Without the key area, without iscrowd, without masks, numbered from 0."""
    made = LvisSet.empty(1, 1)
    for n in range(2):
        made.annotate(0, 0, [30.0 * n, 0, 20, 20], id=n)
        made.detect(0, 0, [30.0 * n, 0, 20, 20], 0.9)
        del made.annotations[n]["area"], made.annotations[n]["segmentation"]
    _, found = coco_file(made, tmp_path)
    (tmp_path / "annotations.json").rename(tmp_path / "_annotations.coco.json")
    scorer = CocoScorer(tmp_path, ious=("bbox",))
    score = scorer.score_all(found, ious=("bbox",))["coco"]["bbox"]
    assert score["AP"] == pytest.approx(1)
    with pytest.raises(AnnotationError, match="annotation 0 has an empty segmentation"):
        CocoScorer(tmp_path, ious=("segm",)).score(found, iou="segm")


def test_no_figure_on_one_side_is_a_difference(folder: Path) -> None:
    score = LvisScorer(folder / "annotations.json").score(folder / "detections.json", iou="bbox")
    other = LvisScorer(folder / "annotations.json").score(folder / "detections.json", iou="bbox")
    assert largest_difference(score.values, other.values) == 0
    other.values["AP"] = None
    assert largest_difference(score.values, other.values) == float("inf")
