"""Detectors' files in both layouts: what is read from them, and what they may not hold."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regionspot_core.datasets.record import AnnotationSet
from regionspot_core.errors import AnnotationError
from regionspot_core.testing import make_annotations
from regionspot_evaluate.proposals.files import read_proposals


@pytest.fixture
def annotations() -> AnnotationSet:
    """Three images with 2, 0 and 1 regions; their ids are 3, 10 and 17."""
    made = make_annotations([2, 0, 1])
    made.image_size[:] = [[50, 100], [40, 30], [8, 8]]
    return made


def load(tmp_path: Path, content: object, annotations: AnnotationSet) -> list[Any]:
    path = tmp_path / "proposals.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return read_proposals(path, annotations)


def entry(**changes: object) -> dict[str, object]:
    return {"image_id": 10, "bbox": [1, 2, 3, 4], "score": 0.5} | changes


@pytest.mark.parametrize("empty", [[], {}])
def test_an_empty_file_proposes_nothing(
    empty: object, tmp_path: Path, annotations: AnnotationSet
) -> None:
    loaded = load(tmp_path, empty, annotations)
    assert [p.boxes.shape for p in loaded] == [(0, 4)] * 3
    assert [p.scores.shape for p in loaded] == [(0,)] * 3


def test_boxes_go_to_their_image_in_the_files_order(
    tmp_path: Path, annotations: AnnotationSet
) -> None:
    content = [
        entry(image_id=17, bbox=[0, 0, 8, 8], score=1),
        entry(image_id=3, bbox=[5, 6, 7.5, 8], score=0.25, category_id=12),
        entry(image_id=17, bbox=[1, 1, 2, 2], score=0),
    ]
    first, second, third = load(tmp_path, content, annotations)
    assert first.boxes.tolist() == [[5, 6, 12.5, 14]]
    assert first.scores.tolist() == [0.25]
    assert first.classes.tolist() == [-1]
    assert len(second.boxes) == 0
    assert third.boxes.tolist() == [[0, 0, 8, 8], [1, 1, 3, 3]]
    assert third.scores.tolist() == [1, 0]
    assert third.boxes.dtype == third.scores.dtype == np.float32


@pytest.mark.parametrize(
    ("bbox", "kept"),
    [
        ([-5, -5, 100, 100], [[0, 0, 30, 40]]),  # image 10 is 30 wide and 40 high
        ([25, 35, 10, 10], [[25, 35, 30, 40]]),
        ([30, 0, 5, 5], []),
        ([0, -5, 5, 5], []),
        ([3, 3, 0, 5], []),
        ([3, 3, 5, 0], []),
        ([29, 3, 1e-9, 5], []),  # empty once in float32
    ],
)
def test_boxes_are_clipped_and_those_outside_left_out(
    bbox: list[float], kept: list[list[float]], tmp_path: Path, annotations: AnnotationSet
) -> None:
    proposals = load(tmp_path, [entry(bbox=bbox)], annotations)[1]
    assert proposals.boxes.tolist() == kept
    assert len(proposals.scores) == len(proposals.classes) == len(kept)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"expected a list of boxes \(COCO results\), got JSON of another kind"),
        ([7], "entry 0: expected an object with image_id, bbox, score"),
        ([entry(), [1]], "1 of 2 boxes cannot be used, .* entry 1: expected an object with image"),
        ([{"bbox": [1, 2, 3, 4], "score": 1}], "entry 0: .*image_id"),
        ([{"image_id": 10, "score": 1}], "entry 0: .*bbox"),
        ([{"image_id": 10, "bbox": [1, 2, 3, 4]}], "entry 0: .*score"),
        ([entry(image_id=99)], "entry 0: image 99 is not in the annotations"),
        ([entry(image_id="1O")], "entry 0: expected as image_id a whole number, or .* got '1O'"),
        ([entry(image_id="11")], "entry 0: image 11 is not in the annotations"),
        ([entry(image_id="../图 1.png")], "entry 0: .*the name of one of the annotations' images"),
        ([entry(image_id=True)], "entry 0: .*as image_id, got True"),
        ([entry(image_id=[10])], "entry 0: "),
        ([entry(image_id=float("inf"))], "entry 0: "),
        ([entry(bbox=[1, 2, 3])], "entry 0: .*bbox"),
        ([entry(bbox=[1, 2, 3, "4"])], "entry 0: .*bbox: a number, got '4'"),
        ([entry(bbox="1234")], "entry 0: .*bbox, got '1234'"),
        ([entry(bbox=5)], "entry 0: .*bbox, got 5"),
        ([entry(bbox=[1, 2, -3, 4])], "entry 0: .*bbox"),
        ([entry(bbox=[1, 2, -1e-3, 4])], "entry 0: .*bbox"),
        ([entry(score=-1e-5)], "entry 0: .*score from 0 to 1"),
        ([entry(bbox=[1, 2, float("nan"), 4])], "entry 0: .*bbox"),
        ([entry(bbox=[1, 2, None, 4])], "entry 0: "),
        ([entry(bbox=[10**400, 2, 3, 4])], "entry 0: "),
        ([entry(score=1.01)], "entry 0: .*score from 0 to 1, got 1.01"),
        ([entry(score=-0.1)], "entry 0: .*score from 0 to 1, got -0.1"),
        ([entry(score="0.5")], "entry 0: .*score: a number, got '0.5'"),
        ([entry(score=float("nan"))], "entry 0: .*finite number, got nan"),
        ([entry(score=None)], "entry 0: "),
        (
            [entry(), entry(score=2), entry(image_id=4), entry(score=3), entry(score=4)],
            "4 of 5 boxes cannot be used, and none is left out: 3 with a score .*; and 1 more",
        ),
    ],
)
def test_malformed_files_are_refused_with_the_entry(
    content: object, message: str, tmp_path: Path, annotations: AnnotationSet
) -> None:
    with pytest.raises(AnnotationError, match=message) as caught:
        load(tmp_path, content, annotations)
    assert str(caught.value).startswith(str(tmp_path / "proposals.json"))


def test_what_scoring_takes_is_taken(tmp_path: Path, annotations: AnnotationSet) -> None:
    """Ids as 10.0, scores that a float32 rounds beyond their borders, sides below zero by that."""
    above, below = float(np.float32(1.0000001)), float(np.float32(-1e-7))
    content = [
        entry(image_id=10.0),
        entry(score=above),
        entry(score=below),
        entry(bbox=[1e308, 0, 1e308, 1]),
        entry(bbox=[12.0, 2, below, 4]),
    ]
    proposals = load(tmp_path, content, annotations)[1]
    assert proposals.boxes.tolist() == [[1, 2, 4, 6]] * 3
    assert proposals.scores.tolist() == [0.5, above, below]


@pytest.mark.parametrize("name", ["folder/图 1.png", "folder\\图 1.png", "图 1.png", "图 1"])
def test_images_may_be_named_by_their_files(
    name: str, tmp_path: Path, annotations: AnnotationSet, capsys: pytest.CaptureFixture[str]
) -> None:
    by_id = load(tmp_path, [entry(), entry(image_id=17)], annotations)
    by_name = load(tmp_path, [entry(image_id=name), entry(image_id=17)], annotations)
    assert np.array_equal(
        load(tmp_path, [entry(image_id="10")], annotations)[1].boxes, by_id[1].boxes
    )
    by_key = load(tmp_path, {name: {"boxes": [[1, 2, 4, 6]], "scores": [0.5]}}, annotations)
    for one, other in zip(by_id, by_name, strict=True):
        assert np.array_equal(one.boxes, other.boxes)
    assert np.array_equal(by_key[1].boxes, by_id[1].boxes)
    said = capsys.readouterr().err.splitlines()
    assert said == [f"{tmp_path / 'proposals.json'}: names its images by their files; they are "
                    "found by those names"] * 2  # fmt: skip


def test_a_key_with_leading_zeros_is_rather_a_files_name(
    tmp_path: Path, annotations: AnnotationSet
) -> None:
    """Image 17's file is 000010.png, and another has the id 10."""
    named = replace(annotations, image_file=("a.png", "b.png", "val/000010.png"))
    boxes = {"boxes": [[1, 2, 4, 6]], "scores": [0.5]}
    for key, counts in {"10": [0, 1, 0], "000010": [0, 0, 1], "000003": [1, 0, 0]}.items():
        found = load(tmp_path, {key: boxes}, named)
        assert [len(proposals.boxes) for proposals in found] == counts


def test_boxes_by_image_id(tmp_path: Path, annotations: AnnotationSet) -> None:
    content = {
        "17": {"boxes": [[0, 0, 8, 8], [1, 1, 3, 3]], "scores": [1, 0], "labels": [5, 6]},
        "3": {"boxes": [], "scores": []},
        "10": {
            "boxes": [[-5, -5, 100, 100], [30, 0, 35, 5], [3, 3, 3, 8], [25.5, 1, 29, 2]],
            "scores": [0.5, 0.5, 0.5, 0.25],
            "labels": ["a", "b"],
        },
    }
    first, second, third = load(tmp_path, content, annotations)
    assert first.boxes.shape == (0, 4)
    assert second.boxes.tolist() == [[0, 0, 30, 40], [25.5, 1, 29, 2]]
    assert second.scores.tolist() == [0.5, 0.25]
    assert second.classes.tolist() == [-1, -1]
    assert third.boxes.tolist() == [[0, 0, 8, 8], [1, 1, 3, 3]]


def test_both_layouts_give_the_same(tmp_path: Path, annotations: AnnotationSet) -> None:
    random = np.random.default_rng(0)
    results, by_image = list[dict[str, object]](), dict[str, dict[str, list[Any]]]()
    for image_id in random.choice(annotations.image_id, 200).tolist():
        x, y, width, height = (random.integers(-40, 200, 4) / 4).tolist()
        box, score = [x, y, abs(width), abs(height)], float(random.random())
        results.append({"image_id": image_id, "bbox": box, "score": score})
        image = by_image.setdefault(str(image_id), {"boxes": [], "scores": [], "labels": []})
        image["boxes"].append([x, y, x + box[2], y + box[3]])
        image["scores"].append(score)
    first, second = load(tmp_path, results, annotations), load(tmp_path, by_image, annotations)
    assert sum(len(proposals.boxes) for proposals in first) > 20
    for one, other in zip(first, second, strict=True):
        assert np.array_equal(one.boxes, other.boxes)
        assert np.array_equal(one.scores, other.scores)


def of_image(**changes: object) -> dict[str, object]:
    return {"10": {"boxes": [[1, 2, 3, 4]], "scores": [0.5], "labels": [1]} | changes}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"images": [], "annotations": []}, "got an annotation file; give it as --annotations"),
        ({"99": {"boxes": [], "scores": []}}, "image 99 is not in generated.json"),
        (
            {"1.5": {"boxes": [], "scores": []}},
            r"image '1\.5': expected as key an image's id, or the name of one",
        ),
        (
            {"9" * 5_000: {"boxes": [], "scores": []}},
            "image '9{40}': expected as key an image's id",
        ),
        ({"10": [[1, 2, 3, 4]]}, "image '10': expected an object by image id, .*got `array`"),
        ({"10": {"scores": []}}, "required field `boxes`"),
        ({"10": {"boxes": []}}, "required field `scores`"),
        (of_image(scores=[]), "1 boxes and 0 scores"),
        (of_image(boxes=5), "Expected `array`, got `int`"),
        (of_image(boxes=[[1, 2, 3]]), "length 4"),
        (of_image(boxes=[[1, 2, 3, "4"]]), "Expected `float`, got `str`"),
        (of_image(boxes=["1234"]), "Expected `array`, got `str`"),
        (
            of_image(boxes=[[1, 2, 0.5, 4]]),
            r"image 10: .*not negative, got \(1.0, 2.0, -0.5, 2.0\)",
        ),
        (of_image(boxes=[[1, 2, 3, 1]]), "image 10: .*not negative"),
        (of_image(boxes=[[1, 2, 3, float("inf")]]), "finite"),
        (of_image(boxes=[[1, 2, 3, None]]), "image '10': "),
        (of_image(scores=[1.5]), "image 10: .*score from 0 to 1, got 1.5"),
        (of_image(scores=[float("nan")]), "finite"),
    ],
)
def test_malformed_images_are_refused_with_their_id(
    content: object, message: str, tmp_path: Path, annotations: AnnotationSet
) -> None:
    with pytest.raises(AnnotationError, match=message) as caught:
        load(tmp_path, content, annotations)
    assert str(caught.value).startswith(str(tmp_path / "proposals.json"))


@pytest.mark.parametrize("raw", [b"", b"[", b"\xff", b"[" * 100_000])
def test_files_that_are_no_json(raw: bytes, tmp_path: Path, annotations: AnnotationSet) -> None:
    (tmp_path / "broken.json").write_bytes(raw)
    with pytest.raises(AnnotationError, match="expected a detector's boxes"):
        read_proposals(tmp_path / "broken.json", annotations)


def test_missing_file_and_folder(tmp_path: Path, annotations: AnnotationSet) -> None:
    with pytest.raises(AnnotationError, match="neither gt, auto nor a file that exists"):
        read_proposals(tmp_path / "absent.json", annotations)
    with pytest.raises(AnnotationError, match="expected a detector's boxes"):
        read_proposals(tmp_path, annotations)
