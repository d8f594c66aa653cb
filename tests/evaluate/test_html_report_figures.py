"""A report's figures against naive code: AP by class, curves, TIDE, calibration, confusions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lvis_runs import (
    Annotations,
    Entries,
    make_annotations,
    make_detections,
    read_detections,
    write_annotations,
)

from regionspot_core.datasets.reading import read_annotations, read_table
from regionspot_core.datasets.record import AnnotationSet
from regionspot_core.datasets.truth import Truth
from regionspot_evaluate.reports.html.naming import (
    MISSED,
    Naming,
    confusions,
    name_regions,
    worst_matrix,
)
from regionspot_evaluate.reports.html.precision import Precision, measure_precision
from regionspot_evaluate.reports.html.read_run import Detections

SEEDS = range(8)
FOREGROUND, BACKGROUND = 0.5, 0.1


def iou(a: list[float], b: list[float]) -> float:
    wide = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    high = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(0.0, wide) * max(0.0, high)
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


def best_first(entries: Entries) -> list[int]:
    return sorted(range(len(entries)), key=lambda place: -entries[place]["score"])


class NaiveLvis:
    """Each detection matched at one IoU as LVIS does it, and what follows from that."""

    def __init__(self, annotations: Annotations, entries: Entries, least: float) -> None:
        self.truths, self.entries = annotations["annotations"], entries
        self.classes = [each["id"] for each in annotations["categories"]]
        images = {each["id"]: each for each in annotations["images"]}
        self.taken: dict[int, int] = {}
        self.state: dict[int, str] = {}
        for place in best_first(entries):
            entry = entries[place]
            image, category = images[entry["image_id"]], entry["category_id"]
            here = [t for t in self.truths if t["image_id"] == image["id"]]
            shown = {t["category_id"] for t in here}
            if category not in shown and category not in image["neg_category_ids"]:
                continue
            best, found = least, None
            for truth in here:
                free = truth["category_id"] == category and truth["id"] not in self.taken
                if free and iou(entry["bbox"], truth["bbox"]) >= best:
                    best, found = iou(entry["bbox"], truth["bbox"]), truth["id"]
            if found:
                self.taken[found], self.state[place] = place, "right"
            elif category not in image["not_exhaustive_category_ids"]:
                self.state[place] = "wrong"

    def curve(self, category: int, flags: list[bool], number: int) -> list[float]:
        """Precision at 101 recalls, each the best of that recall or a higher one."""
        points = []
        for count in range(1, len(flags) + 1):
            right = sum(flags[:count])
            points.append((right / number if number else 0.0, right / count))
        return [
            max((p for r, p in points if r >= recall), default=0.0)
            for recall in np.linspace(0, 1, 101)
        ]

    def flags(self, category: int) -> list[bool]:
        return [
            self.state[place] == "right"
            for place in best_first(self.entries)
            if place in self.state and self.entries[place]["category_id"] == category
        ]

    def number(self, category: int) -> int:
        return sum(truth["category_id"] == category for truth in self.truths)


def naive_tide(naive: NaiveLvis) -> tuple[dict[str, float], dict[str, int]]:
    """Bolya et al. 2020, section 2; a box that several errors would be mended onto goes to the
    best scored of them, as in tidecv."""
    error, target = dict[int, str](), dict[int, int]()
    for place in (p for p, state in naive.state.items() if state == "wrong"):
        entry = naive.entries[place]
        same, other = (0.0, 0), (0.0, 0)
        for truth in (t for t in naive.truths if t["image_id"] == entry["image_id"]):
            overlap = (iou(entry["bbox"], truth["bbox"]), truth["id"])
            if truth["category_id"] == entry["category_id"]:
                same = max(same, overlap)
            else:
                other = max(other, overlap)
        if BACKGROUND <= same[0] < FOREGROUND:
            error[place], target[place] = "Loc", same[1]
        elif other[0] >= FOREGROUND:
            error[place], target[place] = "Cls", other[1]
        elif same[0] >= FOREGROUND:
            error[place] = "Dupe"
        else:
            error[place] = "Both" if max(same[0], other[0]) >= BACKGROUND else "Bkg"
    claimed: dict[int, int] = {}
    for place in best_first(naive.entries):
        if place in target and target[place] not in naive.taken:
            claimed.setdefault(target[place], place)
    lost = {t["id"] for t in naive.truths} - set(naive.taken) - set(target.values())
    class_of = {t["id"]: t["category_id"] for t in naive.truths}

    def mean_ap(mended: str | None) -> float:
        flags: dict[int, list[bool]] = {category: [] for category in naive.classes}
        for place in best_first(naive.entries):
            category = naive.entries[place]["category_id"]
            if naive.state.get(place) == "right":
                flags[category].append(True)
            elif place in error and error[place] != mended:
                flags[category].append(False)
            elif place in target and claimed.get(target[place]) == place:
                flags[class_of[target[place]]].append(True)
        shown = [category for category in naive.classes if naive.number(category)]
        gone = [class_of[name] for name in lost] if mended == "Miss" else []
        return float(
            np.mean([
                naive.curve(k, flags[k], naive.number(k) - gone.count(k)) for k in shown
            ])
        )  # fmt: skip

    names = ("Cls", "Loc", "Both", "Dupe", "Bkg", "Miss")
    counts = {name: list(error.values()).count(name) for name in names} | {"Miss": len(lost)}
    return {name: mean_ap(name) - mean_ap(None) for name in names}, counts


def generated(seed: int, folder: Path) -> tuple[Annotations, Entries, AnnotationSet, Detections]:
    rng = np.random.default_rng(seed)
    annotations = make_annotations(rng)
    entries = make_detections(rng, annotations)
    results = folder / "results.json"
    results.write_text(json.dumps(entries))
    read = read_annotations(write_annotations(folder, annotations))
    return annotations, entries, read, read_detections(results, read)


def truth_of(annotations: AnnotationSet) -> Truth:
    return read_table(annotations.path, masks=False).truth(federated=True)


@pytest.mark.parametrize("seed", SEEDS)
def test_class_ap_and_curves_are_those_of_naive_code(seed: int, tmp_path: Path) -> None:
    annotations, entries, read, detections = generated(seed, tmp_path)
    precision = measure_precision(read, truth_of(read), detections)
    at = [NaiveLvis(annotations, entries, least) for least in np.linspace(0.5, 0.95, 10)]
    curves = {
        k: [naive.curve(k, naive.flags(k), naive.number(k)) for naive in at]
        for k in at[0].classes
        if at[0].number(k)
    }
    for index, class_id in enumerate(read.vocabulary.ids):
        if class_id not in curves:
            assert np.isnan(precision.class_ap[index])
            continue
        assert precision.class_ap[index] == pytest.approx(np.mean(curves[class_id]))
        assert precision.class_ap50[index] == pytest.approx(np.mean(curves[class_id][0]))
        assert precision.class_curve[index] == pytest.approx(curves[class_id][0])
    for name, which in (("IoU 0.50", [0]), ("IoU 0.75", [5])):
        expected = np.mean([[curves[k][t] for t in which] for k in curves], axis=(0, 1))
        assert precision.curves[name]["all"] == pytest.approx(expected)
    everything = precision.curves["mean of IoU 0.50–0.95"]
    assert np.mean(everything["all"]) == pytest.approx(precision.figures["AP"])
    for group, figure in (("rare", "APr"), ("common", "APc"), ("frequent", "APf")):
        if group in everything:
            assert np.mean(everything[group]) == pytest.approx(precision.figures[figure])


@pytest.mark.parametrize("seed", SEEDS)
def test_tide_is_that_of_naive_code(seed: int, tmp_path: Path) -> None:
    annotations, entries, read, detections = generated(seed, tmp_path)
    precision = measure_precision(read, truth_of(read), detections)
    gains, counts = naive_tide(NaiveLvis(annotations, entries, FOREGROUND))
    assert precision.tide_counts == counts
    assert precision.tide == pytest.approx(gains, abs=1e-9)


def test_tide_by_hand(tmp_path: Path) -> None:
    # Class 11's detection lies on a box of class 10; right, it would bring both APs to 1. Before,
    # class 10 has AP 0, and class 11 has a wrong one before its right one: AP 0.5.
    box, other = [10.0, 10.0, 20.0, 20.0], [60.0, 30.0, 20.0, 20.0]
    annotations = make_annotations(np.random.default_rng(0), images=2, classes=2)
    annotations["annotations"] = [
        {"id": 1, "image_id": 1, "category_id": 10, "bbox": box, "area": 400, "segmentation": []},
        {"id": 2, "image_id": 2, "category_id": 11, "bbox": other, "area": 400, "segmentation": []},
    ]
    annotations["images"][0] |= {"neg_category_ids": [11], "not_exhaustive_category_ids": []}
    annotations["images"][1] |= {"neg_category_ids": [], "not_exhaustive_category_ids": []}
    read = read_annotations(write_annotations(tmp_path, annotations))
    results = tmp_path / "results.json"
    results.write_text(
        json.dumps(
            [
                {"image_id": 1, "category_id": 11, "bbox": box, "score": 0.9},
                {"image_id": 2, "category_id": 11, "bbox": other, "score": 0.8},
            ]
        )
    )
    precision = measure_precision(read, truth_of(read), read_detections(results, read))
    assert precision.figures["AP50"] == pytest.approx(0.25)
    nothing = dict.fromkeys(("Loc", "Both", "Dupe", "Bkg", "Miss"), 0.0)
    assert precision.tide == pytest.approx({"Cls": 0.75, **nothing})


@pytest.mark.parametrize("seed", SEEDS)
def test_calibration_is_that_of_naive_code(seed: int, tmp_path: Path) -> None:
    annotations, entries, read, detections = generated(seed, tmp_path)
    precision: Precision = measure_precision(read, truth_of(read), detections)
    naive = NaiveLvis(annotations, entries, FOREGROUND)
    bins: dict[int, list[tuple[float, bool]]] = {}
    for place, state in naive.state.items():
        score = entries[place]["score"]
        bins.setdefault(int(score * 10), []).append((score, state == "right"))
    found = [(round(b.low * 10), b.count, b.mean_score, b.right) for b in precision.calibration]
    expected = [(b, len(v), *np.mean(v, axis=0)) for b, v in sorted(bins.items())]
    assert np.array(found) == pytest.approx(np.array(expected))
    gaps = [count * abs(score - right) for _, count, score, right in expected]
    assert precision.calibration_error == pytest.approx(sum(gaps) / len(naive.state))


@pytest.mark.parametrize("seed", SEEDS)
def test_naming_is_that_of_naive_code(seed: int, tmp_path: Path) -> None:
    annotations, entries, read, detections = generated(seed, tmp_path)
    naming = name_regions(read, detections)
    truths: dict[int, dict[str, Any]] = {t["id"]: t for t in annotations["annotations"]}
    for region, name in enumerate(read.annotation_id.tolist()):
        truth = truths[name]
        near = [
            entries[place]
            for place in best_first(entries)
            if entries[place]["image_id"] == truth["image_id"]
            and iou(entries[place]["bbox"], truth["bbox"]) >= 0.5
        ]
        said = read.vocabulary.index_of_id[near[0]["category_id"]] if near else MISSED
        assert naming.predicted[region] == said
        assert naming.score[region] == (near[0]["score"] if near else 0.0)
        assert naming.right[region] == bool(near and near[0]["category_id"] == truth["category_id"])


def test_confusions_and_their_matrix_by_hand(tmp_path: Path) -> None:
    annotations = make_annotations(np.random.default_rng(0), images=1, classes=4)
    row = annotations["annotations"][0]
    true = [0, 0, 0, 1, 2, 3]
    annotations["annotations"] = [
        {**row, "id": place + 1, "category_id": 10 + index} for place, index in enumerate(true)
    ]
    read = read_annotations(write_annotations(tmp_path, annotations))
    said = np.array([1, 1, MISSED, 1, 3, 2])
    score = np.array([0.5, 0.7, 0.0, 0.9, 0.2, 0.4])
    naming = Naming(said, score, said == np.array(true))

    ranked = confusions(read, naming)

    assert [(c.true, c.predicted, c.count, c.of) for c in ranked] == [
        (0, 1, 2, 3),
        (3, 2, 1, 1),  # before the next for its score
        (2, 3, 1, 1),
    ]
    assert ranked[0].score == pytest.approx(0.6)
    matrix = worst_matrix(read, naming, ranked, classes=3)
    assert matrix.classes == [0, 1]  # the next pair would make four
    assert matrix.counts == [[0, 2, 0, 1], [0, 1, 0, 0]]
    whole = worst_matrix(read, naming, ranked)
    assert whole.classes == [0, 1, 3, 2]
    assert whole.counts[2] == [0, 0, 0, 1, 0, 0]
