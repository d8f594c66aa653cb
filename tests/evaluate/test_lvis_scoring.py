"""LVIS scores: counted by hand, and equal to hotcoco's, a second implementation."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lvis.eval
import numpy as np
import pytest
from hotcoco import COCO, LVISEval, LVISResults
from pycocotools import mask as rle_codec

from regionspot_core.errors import AnnotationError
from regionspot_core.scoring.figures import METRICS
from regionspot_evaluate.scoring.figures import Iou
from regionspot_evaluate.scoring.reference import ReferenceScorer
from regionspot_evaluate.scoring.scorer import LvisScorer

Json = dict[str, Any]
Box = list[float]
SIDE = 200
FREQUENT, RARE, COMMON, ABSENT = 1, 2, 3, 4
IMAGE_WITHOUT_A_WORD, IMAGE_NEGATIVE = 3, 4
# Precision 1 up to recall 1/2, then 2/3: 51 and 50 of the 101 recall points.
AP_WITH_ONE_FALSE = (51 + 50 * 2 / 3) / 101


def annotation(number: int, image: int, category: int, box: Box) -> Json:
    x, y, width, height = box
    corners = [x, y, x + width, y, x + width, y + height, x, y + height]
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "bbox": box,
        "area": width * height,
        "segmentation": [corners],
    }


def detection(image: int, category: int, box: Box, score: float, mask: Box | None = None) -> Json:
    """A detection whose mask is a rectangle: the box, or ``mask``."""
    x, y, width, height = map(round, mask or box)
    covered = np.zeros((SIDE, SIDE), dtype=np.uint8, order="F")
    covered[y : y + height, x : x + width] = 1
    rle = rle_codec.encode(covered)
    return {
        "image_id": image,
        "category_id": category,
        "bbox": box,
        "score": score,
        "segmentation": {"size": rle["size"], "counts": rle["counts"].decode("ascii")},
    }


def ground_truth() -> Json:
    """Image 1 labels the frequent class, but not all of it; image 4 has none of it for sure."""
    images = [
        {
            "id": number,
            "height": SIDE,
            "width": SIDE,
            "coco_url": f"http://host/val/{number}.jpg",
            "neg_category_ids": [FREQUENT] if number == IMAGE_NEGATIVE else [],
            "not_exhaustive_category_ids": [FREQUENT] if number == 1 else [],
        }
        for number in (1, 2, IMAGE_WITHOUT_A_WORD, IMAGE_NEGATIVE)
    ]
    categories = [
        {"id": FREQUENT, "name": "person", "frequency": "f"},
        {"id": RARE, "name": "bat_(animal)", "frequency": "r"},
        {"id": COMMON, "name": "newt", "frequency": "c"},
        {"id": ABSENT, "name": "unicorn", "frequency": "r"},
    ]
    annotations = [
        annotation(1, 1, FREQUENT, [0, 0, 40, 40]),
        annotation(2, 2, FREQUENT, [10, 10, 40, 40]),
        annotation(3, 1, RARE, [50, 50, 40, 40]),
        annotation(4, IMAGE_WITHOUT_A_WORD, COMMON, [0, 0, 40, 40]),
    ]
    return {"images": images, "categories": categories, "annotations": annotations}


TRUE_FREQUENT = [
    detection(1, FREQUENT, [0, 0, 40, 40], 0.9),
    detection(2, FREQUENT, [10, 10, 40, 40], 0.7),
]


class Files:
    def __init__(self, folder: Path) -> None:
        self.annotations, self.detections = folder / "lvis.json", folder / "results.json"

    def score(self, annotations: Json, detections: object, iou: Iou = "bbox") -> Any:
        self.annotations.write_text(json.dumps(annotations))
        self.detections.write_text(json.dumps(detections))
        return LvisScorer(self.annotations).score(self.detections, iou=iou)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.mark.parametrize("iou", ["bbox", "segm"])
def test_a_case_counted_by_hand(iou: Iou, files: Files) -> None:
    detections = [
        *TRUE_FREQUENT,
        detection(2, FREQUENT, [60, 60, 40, 40], 0.8),
        # 25 of 40 columns: IoU 0.625, right at the thresholds 0.50, 0.55 and 0.60 of ten
        detection(1, RARE, [50, 50, 25, 40], 0.5),
    ]
    found = files.score(ground_truth(), detections, iou)
    assert found.iou == iou
    assert found["APf"] == pytest.approx(AP_WITH_ONE_FALSE)
    assert found["APr"] == pytest.approx(0.3)  # the absent rare class does not count
    assert found["APc"] == 0
    assert found["AP"] == pytest.approx((AP_WITH_ONE_FALSE + 0.3 + 0) / 3)
    assert found["AP50"] == pytest.approx((AP_WITH_ONE_FALSE + 1 + 0) / 3)
    assert found["AP75"] == pytest.approx(AP_WITH_ONE_FALSE / 3)
    assert found["AR"] == pytest.approx((1 + 0.3 + 0) / 3)
    # 40 × 40 pixels are between 32² and 96²: medium
    assert found["APm"] == pytest.approx(found["AP"])
    assert [found[name] for name in ("APs", "APl", "ARs", "ARl")] == [None] * 4
    assert tuple(found.values) == METRICS


@pytest.mark.parametrize(
    ("image", "precision"),
    [
        (1, 1.0),  # labelled, but not exhaustively: an unmatched detection is let be
        (2, AP_WITH_ONE_FALSE),  # labelled exhaustively: it is wrong
        (IMAGE_WITHOUT_A_WORD, 1.0),  # nothing is known: let be
        (IMAGE_NEGATIVE, AP_WITH_ONE_FALSE),  # known to have none: wrong
    ],
)
def test_a_false_detection_counts_only_where_it_is_known_to_be_false(
    image: int, precision: float, files: Files
) -> None:
    false = detection(image, FREQUENT, [55, 55, 40, 40], 0.8)
    found = files.score(ground_truth(), [*TRUE_FREQUENT, false])
    assert found["APf"] == pytest.approx(precision)


def test_masks_are_scored_by_masks(files: Files) -> None:
    half_masks = [detection(1, RARE, [50, 50, 40, 40], 0.9, mask=[50, 50, 25, 40])]
    assert files.score(ground_truth(), half_masks, "bbox")["APr"] == pytest.approx(1)
    assert files.score(ground_truth(), half_masks, "segm")["APr"] == pytest.approx(0.3)


@pytest.mark.parametrize(("others", "precision"), [(299, 1.0), (300, 0.0)])
def test_an_image_keeps_its_best_three_hundred(others: int, precision: float, files: Files) -> None:
    better = [detection(1, ABSENT, [0, 0, 9, 9], 0.9)] * others
    last = detection(1, RARE, [50, 50, 40, 40], 0.1)
    assert files.score(ground_truth(), [last, *better])["APr"] == pytest.approx(precision)


def federated_set(seed: int) -> tuple[Json, list[Json]]:
    """Random instances, some labelled partly, and detections near them and elsewhere."""
    random = np.random.default_rng(seed)
    categories = [
        {"id": 3 * k + 2, "name": f"class {k}", "frequency": "rcf"[k % 3]} for k in range(10)
    ]
    ids = [category["id"] for category in categories]
    images: list[Json] = []
    annotations: list[Json] = []
    detections: list[Json] = []

    def random_box() -> Box:
        corner = random.integers(0, 100, 2)
        return [float(v) for v in (*corner, *random.integers(4, SIDE - corner))]

    for number in range(40):
        mixed = random.permutation(ids).tolist()
        present, negative, unsaid = mixed[:3], mixed[3:5], mixed[5:7]
        images.append(
            {
                "id": 1000 - number,
                "height": SIDE,
                "width": SIDE,
                "neg_category_ids": negative,
                "not_exhaustive_category_ids": present[:1] if number % 2 else [],
            }
        )
        for category in present:
            for _ in range(random.integers(1, 4)):
                box = random_box()
                annotations.append(annotation(len(annotations) + 1, 1000 - number, category, box))
                shift = random.integers(-3, 4, 2)
                near = [*np.clip(np.add(box[:2], shift), 0, SIDE - 1).tolist(), *box[2:]]
                if random.random() < 0.8:
                    detections.append(
                        detection(1000 - number, category, near, float(random.random()))
                    )
        for category in (*present, *negative, *unsaid):
            false = random_box()
            detections.append(detection(1000 - number, category, false, float(random.random())))
    return (
        {"images": images, "categories": categories, "annotations": annotations},
        detections,
    )


@pytest.mark.parametrize("iou", ["bbox", "segm"])
@pytest.mark.parametrize("seed", [0, 1])
def test_hotcoco_finds_the_same(seed: int, iou: Iou, files: Files) -> None:
    annotations, detections = federated_set(seed)
    ours = files.score(annotations, detections, iou)
    truth = COCO(str(files.annotations))
    other = LVISEval(truth, LVISResults(truth, str(files.detections)), iou)
    other.run()
    theirs = {name.removesuffix("@300"): value for name, value in other.get_results().items()}
    for name in METRICS:
        assert 0 < ours[name] < 1, name  # the set is such that every figure says something
        assert theirs[name] == pytest.approx(ours[name], abs=1e-6), name


def test_numpy_is_left_as_it_was(files: Files) -> None:
    files.score(ground_truth(), TRUE_FREQUENT)
    assert lvis.eval.np is np
    assert not hasattr(np, "float")


def test_numpy_is_left_as_it_was_after_an_error_too(files: Files) -> None:
    files.score(ground_truth(), TRUE_FREQUENT)
    entries = json.loads(files.detections.read_bytes())
    with pytest.raises(ValueError, match="iou_type"):
        ReferenceScorer(LvisScorer(files.annotations).truth).score(entries, iou="keypoints")
    assert lvis.eval.np is np
    assert not hasattr(np, "float")


def without(table: str, key: str) -> Callable[[Json], None]:
    def spoil(content: Json) -> None:
        del content[table][-1][key]

    return spoil


def with_value(table: str, key: str, value: object) -> Callable[[Json], None]:
    def spoil(content: Json) -> None:
        content[table][-1][key] = value

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without("images", "neg_category_ids"), "LVIS's rules .* image 4 has no neg_category_ids"),
        (without("images", "not_exhaustive_category_ids"), "image 4 has no not_exhaustive_cat"),
        (without("annotations", "image_id"), "missing key 'image_id'"),
        (with_value("images", "neg_category_ids", 3), "image 4: expected a list as neg_cat"),
        (lambda content: content["images"].append(5), "expected objects in images, got 5"),
        (lambda content: content.pop("categories"), "expected an object with lists"),
        (lambda content: content.update(images=[], annotations=[]), "at least one image"),
        (with_value("images", "height", 0), "image 4 .* has no height and width"),
        (with_value("images", "id", 1), "image ids must differ; 1 occurs more than once"),
        (with_value("annotations", "id", 1), "annotation ids must differ; 1 occurs more than"),
        (with_value("annotations", "image_id", 9), "image_id 9 is not in the file"),
        (with_value("annotations", "category_id", 9), "category_id 9 is not in the file"),
        (with_value("annotations", "area", -1), "annotation 4: expected a finite number from 0"),
        (with_value("annotations", "bbox", [0, 0, -1, 2]), "width and height are not negative"),
        (with_value("annotations", "bbox", [0, 0, "1", 2]), "x, y, width, height as bbox"),
        (with_value("annotations", "segmentation", [[1, 2]]), "expected as segmentation polygons"),
        (
            with_value("annotations", "segmentation", {"size": [2, 2], "counts": [4]}),
            "annotation 4 has a polygon that is not finite, or an RLE of another size",
        ),
    ],
)
def test_annotations_that_are_not_lvis_are_refused(
    spoil: Callable[[Json], None], message: str, files: Files
) -> None:
    content = ground_truth()
    spoil(content)
    with pytest.raises(AnnotationError, match=message):
        files.score(content, TRUE_FREQUENT)
    with pytest.raises(AnnotationError, match=message):
        LvisScorer(files.annotations)


def test_lvis_annotations_are_taken(files: Files) -> None:
    """Those that the cases above spoil."""
    assert files.score(ground_truth(), TRUE_FREQUENT)["APf"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_id": 99}, "entry 1: image 99 is not in the annotations"),
        ({"image_id": "x"}, "entry 1: expected as image_id a whole number, or .* got 'x'"),
        ({"image_id": [1]}, "entry 1: expected a whole number as image_id"),
        ({"bbox": [1, 2, 3]}, "entry 1: expected x, y, width, height"),
        ({"bbox": 5}, "entry 1: expected x, y, width, height"),
        ({"bbox": [1, 2, "3", 4]}, "entry 1: expected x, y, width, height"),
        ({"score": None}, "entry 1: .*a score"),
        ({"score": float("nan")}, "entry 1: .*finite"),
        ({"bbox": [1, 2, float("inf"), 4]}, "entry 1: .*finite"),
    ],
)
def test_malformed_detections_are_refused_with_the_entry(
    changes: Json, message: str, files: Files
) -> None:
    with pytest.raises(AnnotationError, match=message):
        files.score(ground_truth(), [TRUE_FREQUENT[0], TRUE_FREQUENT[1] | changes])


def test_masks_need_masks(files: Files) -> None:
    """The lvis package would take the boxes for masks and say nothing."""
    boxes = [{k: v for k, v in d.items() if k != "segmentation"} for d in TRUE_FREQUENT]
    assert files.score(ground_truth(), boxes)["APf"] == pytest.approx(1)
    with pytest.raises(AnnotationError, match=r"entry 0: .* image_id, .*segmentation$"):
        files.score(ground_truth(), boxes, "segm")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "expected a list of detections"),
        (None, "expected a list of detections"),
        ([3], "entry 0: expected an object"),
        ([{}], "entry 0: expected an object with image_id, category_id, bbox, score$"),
    ],
)
def test_nothing_to_score(content: object, message: str, files: Files) -> None:
    with pytest.raises(AnnotationError, match=message):
        files.score(ground_truth(), content)


def test_missing_and_truncated_files(files: Files) -> None:
    with pytest.raises(AnnotationError, match="no such annotation file"):
        LvisScorer(files.annotations).score(files.detections, iou="bbox")
    files.annotations.write_text(json.dumps(ground_truth()))
    with pytest.raises(AnnotationError, match="no such results file"):
        LvisScorer(files.annotations).score(files.detections, iou="bbox")
    files.detections.write_text(json.dumps(TRUE_FREQUENT)[:-5])
    with pytest.raises(AnnotationError, match="expected LVIS results JSON"):
        LvisScorer(files.annotations).score(files.detections, iou="bbox")
