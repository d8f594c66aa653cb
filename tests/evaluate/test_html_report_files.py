"""Reading a run's folder, choosing and preparing pictures, and the tables beside the page."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lvis_runs import (
    SIZE,
    make_annotations,
    make_detections,
    page_data,
    read_detections,
    write_annotations,
    write_images,
    write_run,
)
from PIL import Image
from pycocotools import mask as codec

from regionspot_core.datasets.detections.detections_file import DetectionsFile
from regionspot_core.datasets.reading import read_annotations, read_table
from regionspot_core.datasets.record import AnnotationSet
from regionspot_core.errors import AnnotationError, InputError
from regionspot_core.support.files import file_sha256
from regionspot_core.testing import files_of
from regionspot_evaluate.reports.html.config import ReportConfig
from regionspot_evaluate.reports.html.gallery import (
    LONG_SIDE,
    MASK_POINTS,
    choose_images,
    outlines,
    regions_to_show,
    thumbnail,
)
from regionspot_evaluate.reports.html.naming import Naming, name_regions
from regionspot_evaluate.reports.html.read_run import (
    Metrics,
    open_run,
)
from regionspot_evaluate.reports.html.write import write_html_report
from regionspot_evaluate.scoring.results import Results
from regionspot_evaluate.scoring.scorer import CocoScorer, LvisScorer


@pytest.fixture
def annotations(tmp_path: Path) -> AnnotationSet:
    made = make_annotations(np.random.default_rng(3))
    return read_annotations(write_annotations(tmp_path, made))


GOOD = {"image_id": 1, "category_id": 10, "bbox": [0, 0, 5, 5], "score": 0.5}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (json.dumps([GOOD, {**GOOD, "image_id": 99}]), "entry 1: image 99 is not in the anno"),
        (json.dumps([{**GOOD, "category_id": 1}]), "entry 0: class 1 is not in the annotations"),
        (
            json.dumps([{**GOOD, "bbox": [0, 0, 5]}]),
            "entry 0: expected x, y, width",
        ),
        (json.dumps([{**GOOD, "score": None}]), "entry 0: expected a score: a number, got None"),
        (
            json.dumps([{**GOOD, "image_id": [1]}]),
            r"whole number as image_id, got \[1\]",
        ),
        (
            '[{"image_id": 1, "category_id": 10, "bbox": [0, 0, 5, 5], "score": NaN}]',
            "number, got nan",
        ),
        (
            json.dumps([{"image_id": 1}]),
            "expected an object with image_id, category_id",
        ),
        ("[3]", "expected an object with image_id"),
        ("{}", "expected a list of detections"),
        (json.dumps([GOOD])[:-4], "expected LVIS results JSON"),
    ],
)
def test_malformed_detections_are_refused(
    annotations: AnnotationSet, tmp_path: Path, text: str, said: str
) -> None:
    results = tmp_path / "results.json"
    results.write_text(text)
    with pytest.raises(AnnotationError, match=said):
        read_detections(results, annotations)


def test_detections_come_by_image_and_score(annotations: AnnotationSet, tmp_path: Path) -> None:
    scores = [(2, 0.1), (1, 0.3), (2, 0.9), (1, 0.3), (1, 0.8)]
    entries = [{**GOOD, "image_id": image, "score": score} for image, score in scores]
    entries[1]["segmentation"] = {"size": [1, 1], "counts": "01"}
    results = tmp_path / "results.json"
    results.write_text(json.dumps(entries))

    detections = read_detections(results, annotations)

    assert detections.start.tolist()[:4] == [0, 3, 5, 5]
    assert detections.score.tolist() == [0.8, 0.3, 0.3, 0.9, 0.1]
    assert detections.entry.tolist() == [4, 1, 3, 2, 0]
    assert detections.box[0].tolist() == [0, 0, 5, 5]
    truth = read_table(annotations.path).truth(federated=True)
    for block_bytes in (60, 2**20):
        with DetectionsFile(results, block_bytes=block_bytes) as file:
            Results.read(file, truth, ious=("bbox",))
            assert file.segmentations({1, 3}) == {1: entries[1]["segmentation"]}
    entries[3]["image_id"] = 1.0  # read one by one from here on
    entries[4]["segmentation"] = {"size": [1, 1], "counts": "01"}
    results.write_text(json.dumps(entries))
    with DetectionsFile(results, block_bytes=60) as file:
        Results.read(file, truth, ious=("bbox",))
        assert sorted(file.segmentations(range(5))) == [1, 4]


def test_detections_beyond_an_images_limit_are_left_out(
    annotations: AnnotationSet, tmp_path: Path
) -> None:
    entries = [{**GOOD, "score": n % 7 / 7} for n in range(310)] + [{**GOOD, "image_id": 2}]
    results = tmp_path / "results.json"
    results.write_text(json.dumps(entries))
    detections = read_detections(results, annotations)
    best = sorted(range(310), key=lambda n: -entries[n]["score"])[:300]
    assert detections.entry.tolist() == [*best, 310]
    assert detections.beyond == 10
    assert detections.start.tolist()[:3] == [0, 300, 301]


def test_a_run_is_a_folder_or_a_results_file(tmp_path: Path) -> None:
    scores = {
        "lvis-fixed": {"segm": {"metrics": {"AP": 0.7}}},  # no figure of the page's protocol
        "lvis": {"bbox": {"metrics": {"AP": 0.5}}},
    }
    folder = write_run(tmp_path / "first", [GOOD], scores=scores, proposals="gt")
    run = open_run(folder)
    assert (run.name, run.figures("bbox", "lvis"), run.figures("segm", "lvis")) == (
        "first",
        {"AP": 0.5},
        None,
    )
    assert run.provenance()["proposals"] == "gt"
    alone = open_run(folder / "detections.json")
    assert (alone.name, alone.metrics, alone.told) == ("detections", Metrics(), {})
    with pytest.raises(InputError, match="no such run"):
        open_run(tmp_path / "none")
    with pytest.raises(InputError, match="several runs; name one: first"):
        open_run(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"with detections\.json\.gz in it"):
        open_run(tmp_path / "empty")
    (folder / "metrics.json").write_text("{")
    with pytest.raises(InputError, match=r"metrics\.json: cannot be read as JSON"):
        open_run(folder)


def naming(annotations: AnnotationSet, right: list[bool]) -> Naming:
    flags = np.array(right)
    return Naming(np.where(flags, annotations.class_index, -1), flags * 0.5, flags)


def test_the_worst_and_best_images_are_chosen_by_what_is_named_right(tmp_path: Path) -> None:
    made = make_annotations(np.random.default_rng(0), images=4)
    row = made["annotations"][0]
    owners = [1, 1, 2, 2, 2, 3, 3]  # image 4 has none
    made["annotations"] = [
        {**row, "id": place + 1, "image_id": image} for place, image in enumerate(owners)
    ]
    annotations = read_annotations(write_annotations(tmp_path, made))
    first = naming(annotations, [True, True, True, True, True, False, True])
    second = naming(annotations, [False, True, True, True, True, True, True])

    worst, best, random = choose_images(annotations, [first], count=2)
    assert (worst.images, best.images) == ([2], [1, 0])  # of equals the one with more regions
    assert len(random.images) == 2
    assert random.images == choose_images(annotations, [first], count=2)[2].images

    gained, lost, _ = choose_images(annotations, [first, second], count=3)
    assert (gained.name, gained.images) == ("B better", [2])
    assert (lost.name, lost.images) == ("A better", [0])


def test_one_region_is_shown_for_each_place(annotations: AnnotationSet, tmp_path: Path) -> None:
    boxes = [[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 5], [30, 0, 10, 10]]
    entries = [{**GOOD, "bbox": box, "score": 0.9 - 0.1 * n} for n, box in enumerate(boxes)]
    results = tmp_path / "results.json"
    results.write_text(json.dumps(entries))
    detections = read_detections(results, annotations)
    assert regions_to_show(detections, 0) == [0, 2, 3]  # the second lies on the first
    assert regions_to_show(detections, 1) == []


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(80, 120, (120, 80)), (3000, 4000, (480, 360)), (1, 5000, (480, 1))],
)
def test_thumbnails_are_bounded(height: int, width: int, expected: tuple[int, int]) -> None:
    jpeg, *size = thumbnail(np.zeros((height, width, 3), dtype=np.uint8))
    assert tuple(size) == expected
    with Image.open(io.BytesIO(jpeg)) as picture:
        assert (picture.format, picture.size) == ("JPEG", expected)


def rle(mask: np.ndarray) -> dict[str, Any]:
    return dict(codec.encode(np.asfortranarray(mask.astype(np.uint8))))


def test_outlines_cover_what_the_mask_covers() -> None:
    rows, columns = np.mgrid[:60, :90]
    distance = np.hypot(rows - 30, columns - 40)
    ring = (distance < 25) & (distance > 12)
    drawn = outlines(rle(ring), (90, 60))
    assert len(drawn) == 2  # the hole has its own
    whole, hole = sorted(
        (codec.decode(codec.merge(codec.frPyObjects([each], 60, 90))) for each in drawn),
        key=np.sum,
        reverse=True,
    )
    again = (whole > 0) & (hole == 0)
    assert (again & ring).sum() / (again | ring).sum() > 0.93


def test_outlines_of_a_ragged_mask_are_bounded() -> None:
    noise = np.random.default_rng(0).random((600, 800)) > 0.5
    drawn = outlines(rle(noise), (LONG_SIDE, 360))
    assert sum(map(len, drawn)) <= 2 * MASK_POINTS * MASK_POINTS
    assert len(drawn) <= MASK_POINTS
    counts = {"size": [4, 4], "counts": [0, 16]}  # not compressed, as some detectors write
    assert outlines(counts, (4, 4))
    assert outlines({"size": [4, 4], "counts": [16]}, (4, 4)) == []


@pytest.fixture
def world(tmp_path: Path) -> dict[str, Path]:
    rng = np.random.default_rng(5)
    made = make_annotations(rng)
    return {
        "annotations": write_annotations(tmp_path, made),
        "images": write_images(tmp_path / "images", made, rng),
        "run": write_run(tmp_path / "run", make_detections(rng, made, masks=True), proposals="gt"),
        "other": write_run(tmp_path / "other", make_detections(rng, made, right=0.2)),
    }


def report(world: dict[str, Path], *runs: str, **settings: object) -> list[Path]:
    given = {"annotations": world["annotations"], "images": world["images"], **settings}
    config = {"runs": [world[name] for name in runs], **given}
    return write_html_report(ReportConfig.parse(config, source="test"))


def test_figures_stand_beside_the_page_as_json_and_csv(world: dict[str, Path]) -> None:
    page, figures, classes, confusions = report(world, "run", "other")
    assert page == world["run"] / "report.html"
    told = json.loads(figures.read_text())
    annotations = read_annotations(world["annotations"])
    for run, name in zip(told["runs"], ("run", "other"), strict=True):
        found = read_detections(world[name] / "detections.json", annotations)
        expected = name_regions(annotations, found).right.mean()
        assert run["named_right"]["all"] == pytest.approx(expected)
        assert run["detections"] == len(found.score)
    rows = list(csv.DictReader(classes.read_text(encoding="utf-8").splitlines()))
    assert [row["name"] for row in rows] == [each["name"] for each in told["classes"]]
    for row, each in zip(rows, told["classes"], strict=True):
        for index, name in enumerate(("run", "other")):
            ap = each["runs"][index]["ap"]
            assert row[f"AP {name}"] == ("" if ap is None else str(ap))
    pairs = list(csv.DictReader(confusions.read_text(encoding="utf-8").splitlines()))
    assert len(pairs) == sum(len(run["confusions"]) for run in told["runs"])
    assert {row["run"] for row in pairs} == {"run", "other"}


def test_a_record_that_says_other_figures_is_doubted(world: dict[str, Path]) -> None:
    (world["run"] / "metrics.json").write_text(
        json.dumps({"scores": {"lvis": {"bbox": {"metrics": {"AP": 0.987}}}}})
    )
    page, figures, *_ = report(world, "run")
    (warning,) = json.loads(figures.read_text())["runs"][0]["warnings"]
    assert "box AP 98.70" in warning
    assert warning in page.read_text(encoding="utf-8").replace("&#39;", "'")


def test_what_the_run_recorded_is_used(world: dict[str, Path]) -> None:
    recorded = {key: str(world[key]) for key in ("annotations", "images")}
    (world["run"] / "run.json").write_text(json.dumps({"configuration": recorded}))
    page, *_ = report(world, "run", annotations=None, images=None)
    assert len(page_data(page)["gallery"]["pictures"]) == 12


def test_wrong_arguments_are_said(world: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"does not say which .* give --annotations"):
        report(world, "run", annotations=None)
    with pytest.raises(InputError, match="expected a folder of images"):
        report(world, "run", images=tmp_path / "none")
    with pytest.raises(InputError, match=r"ends in \.html"):
        report(world, "run", out=tmp_path / "report.pdf")
    with pytest.raises(InputError, match="runs"):
        report(world, *["run"] * 9)


@pytest.mark.parametrize("masks", [True, False])
def test_annotations_without_lists_are_reported_by_coco(
    masks: bool, world: dict[str, Path]
) -> None:
    """The same page, with COCO's figures, and without mask panels where there are boxes alone."""
    plain = json.loads(world["annotations"].read_text())
    for image in plain["images"]:
        del image["neg_category_ids"], image["not_exhaustive_category_ids"]
    for each in plain["annotations"]:
        each |= {} if masks else {"segmentation": []}
    world["annotations"].write_text(json.dumps(plain))
    page, *_ = report(world, "run", "run", "run")
    found, text = page_data(page), page.read_text(encoding="utf-8")
    scorer = CocoScorer(world["annotations"], ious=("bbox",))
    for run, name in zip(found["runs"], ("run", "run", "run"), strict=True):
        assert run["box"] == scorer.score(world[name] / "detections.json", iou="bbox").values
    assert found["protocol"].startswith("COCO")
    assert 'id="chart-frequency"' not in text
    assert ("AP, mask" in text) == masks


def test_what_a_reader_clicks_on_has_pictures(world: dict[str, Path]) -> None:
    """A listed confusion of either run and a class have one, though few are shown at first."""
    page, *_ = report(world, "run", "other", gallery=4)
    found = page_data(page)
    pictures = list(found["gallery"]["pictures"].values())
    for number, run in enumerate(found["runs"]):
        called = {
            pair
            for picture in pictures
            for pair in zip(picture["classes"], picture["called"][number], strict=True)
        }
        assert {(each["true"], each["said"]) for each in run["confusions"]} <= called


def test_an_unreadable_image_is_said_and_left_out(world: dict[str, Path]) -> None:
    for image in world["images"].iterdir():
        image.write_bytes(b"no picture")
    page, *_ = report(world, "run")
    assert "12 could not be read, first: " in page.read_text(encoding="utf-8")


def test_pictures_scale_with_the_images(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    made = make_annotations(rng, images=3)
    for image in made["images"]:
        image |= {"height": 8 * SIZE[0], "width": 8 * SIZE[1]}
    for entry in made["annotations"]:
        entry["bbox"] = [8 * side for side in entry["bbox"]]
    images = tmp_path / "images"
    images.mkdir()
    for image in made["images"]:
        Image.new("RGB", (image["width"], image["height"])).save(images / image["file_name"])
    run = write_run(
        tmp_path / "run",
        [
            {k: e[k] for k in ("image_id", "category_id", "bbox")} | {"score": 0.5}
            for e in made["annotations"]
        ],
    )
    world = {"annotations": write_annotations(tmp_path, made), "images": images, "run": run}
    page, *_ = report(world, "run")
    for picture in page_data(page)["gallery"]["pictures"].values():
        assert (picture["width"], picture["height"]) == (480, 320)
        for region in picture["said"][0]:
            assert region["true"] == region["class"]
            assert max(region["box"]) <= 480


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"bbox": "1234"}, "bbox is not four numbers"),
        ({"score": "0.5"}, "something else for a number"),
        ({"score": 3}, "a score outside 0 to 1"),
        ({"bbox": [5, 5, -3, -3]}, "a negative width or height"),
    ],
)
def test_detections_are_checked_as_for_scoring(
    world: dict[str, Path], change: dict[str, Any], why: str
) -> None:
    path = world["other"] / "detections.json"
    entries = json.loads(path.read_text())
    entries[1] |= change
    path.write_text(json.dumps(entries))
    with pytest.raises(AnnotationError, match=f"1 of {len(entries)} detections.*{why}"):
        report(world, "other")


def test_box_figures_are_the_scorers(world: dict[str, Path]) -> None:
    """Crowds and regions or detections without an area are what hotcoco alone sees otherwise."""
    made = json.loads(world["annotations"].read_text())
    for number, entry in enumerate(made["annotations"]):
        entry["iscrowd"] = int(number % 3 == 0)
    flat = made["annotations"][1]
    flat |= {"bbox": [*flat["bbox"][:2], 0, flat["bbox"][3]], "area": 0}
    world["annotations"].write_text(json.dumps(made))
    results = world["other"] / "detections.json"
    entries = json.loads(results.read_text())
    entries[0]["bbox"][2] = 0
    results.write_text(json.dumps(entries))
    _, figures, *_ = report(world, "other")
    expected = LvisScorer(world["annotations"], ious=("bbox",)).score(results, iou="bbox")
    assert json.loads(figures.read_text())["runs"][0]["box"] == pytest.approx(expected.values)


def test_figures_that_are_not_lvis_own_are_doubted(world: dict[str, Path]) -> None:
    made = json.loads(world["annotations"].read_text())
    made["annotations"][0]["ignore"] = 1
    world["annotations"].write_text(json.dumps(made))
    _, figures, *_ = report(world, "other")
    (warning,) = json.loads(figures.read_text())["runs"][0]["warnings"]
    assert "key ignore set; so the figures here are not those of LVIS's own package" in warning


@pytest.mark.parametrize("name", ["run/detections.html", "run/metrics.html", "val.html"])
def test_nothing_that_is_read_is_written_over(world: dict[str, Path], name: str) -> None:
    folder = world["run"].parent
    annotations = folder / "val.json"
    annotations.write_bytes(world["annotations"].read_bytes())
    before = files_of(folder)
    with pytest.raises(InputError, match="over a file that the report is made from"):
        report(world, "run", annotations=annotations, out=folder / name)
    assert files_of(folder) == before


def test_a_results_file_that_has_the_reports_name_is_kept(world: dict[str, Path]) -> None:
    own = world["run"].parent / "report.json"
    own.write_bytes((world["other"] / "detections.json").read_bytes())
    with pytest.raises(InputError, match=r"report\.json would be written beside it"):
        report(world | {"own": own}, "own")


@pytest.mark.parametrize("recorded", ["absolute", "to the record", "to where it was started"])
def test_annotations_are_found_from_any_folder(
    world: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recorded: str
) -> None:
    """Absolute or relative to the record; earlier versions recorded what was typed."""
    prefix = {"absolute": f"{tmp_path}/", "to the record": "../", "to where it was started": ""}
    configuration = {
        "annotations": f"{prefix[recorded]}val.json",
        "images": f"{prefix[recorded]}images",
    }
    (world["run"] / "run.json").write_text(json.dumps({"configuration": configuration}))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(tmp_path if recorded == "to where it was started" else elsewhere)
    page, *_ = report(world, "run", annotations=None, images=None)
    assert len(page_data(page)["gallery"]["pictures"]) == 12


def test_annotations_that_are_gone_are_named(world: dict[str, Path], tmp_path: Path) -> None:
    configuration = {"annotations": str(tmp_path / "gone.json"), "images": "gone"}
    (world["run"] / "run.json").write_text(json.dumps({"configuration": configuration}))
    with pytest.raises(InputError, match=r"are not at .*/gone\.json; give --annotations"):
        report(world, "run", annotations=None)
    page, *_ = report(world, "run", images=None)
    assert "no images at " in page_data(page)["gallery"]["note"]
    assert str(world["run"] / "gone") in page_data(page)["gallery"]["note"]


def test_other_annotations_of_the_recorded_name_are_not_taken(world: dict[str, Path]) -> None:
    record = {"annotations": "0" * 64, "configuration": {"annotations": str(world["annotations"])}}
    (world["run"] / "run.json").write_text(json.dumps(record))
    with pytest.raises(
        InputError, match=r"val\.json is another file than the one it was scored on"
    ):
        report(world, "run", annotations=None)
    record["annotations"] = file_sha256(world["annotations"])
    (world["run"] / "run.json").write_text(json.dumps(record))
    report(world, "run", annotations=None)


@pytest.mark.parametrize("name", ["metrics.json", "run.json"])
@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("[]", "expected a JSON object"),
        ("[" * 100_000 + "]" * 100_000, "nested too deep"),
        ('{"a":' * 300 + "1" + "}" * 300, "at most 100 levels"),
        ('{"a": ' + "9" * 5000 + "}", "cannot be read as JSON"),
        ("\x80", "cannot be read as JSON"),
    ],
)
def test_records_of_another_form_are_refused(
    world: dict[str, Path], name: str, content: str, why: str
) -> None:
    (world["run"] / name).write_text(content, encoding="latin-1")
    with pytest.raises(InputError, match=rf"{name}: .*{why}") as caught:
        open_run(world["run"])
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("name", "content", "where"),
    [
        ("metrics.json", {"scores": 3}, "scores"),
        ("metrics.json", {"scores": {"lvis": {"bbox": {"metrics": {"AP": "0.5"}}}}}, "AP"),
        ("metrics.json", {"scores": {"lvis": {"bbox": {"metrics": {"AP": None}}}}}, None),
        ("metrics.json", {"naming": {"top1": {"all": float("nan")}}}, "top1.all"),
        ("metrics.json", {"naming": {"top1": {"all": 10**400}}}, "top1.all"),
        ("metrics.json", {"proposals": ["gt"]}, "proposals"),
        ("metrics.json", {"baselines": []}, "baselines"),
        ("run.json", {"configuration": {"annotations": 5}}, "configuration.annotations"),
        ("run.json", {"configuration": []}, "configuration"),
        ("run.json", {"configuration": {"images": "\x00"}}, None),
    ],
)
def test_values_of_wrong_types_are_named(
    world: dict[str, Path], name: str, content: dict[str, Any], where: str | None
) -> None:
    (world["run"] / name).write_text(json.dumps(content))
    if where is None:
        report(world, "run")
        return
    with pytest.raises(InputError, match=rf"{name}: .*{where}: "):
        report(world, "run")


def test_a_pipe_for_a_record_or_results_is_refused_at_once(world: dict[str, Path]) -> None:
    os.mkfifo(world["run"] / "run.json")
    with pytest.raises(InputError, match=r"run\.json: expected a file, found a pipe"):
        open_run(world["run"])
    (world["run"] / "run.json").unlink()
    (world["run"] / "detections.json").unlink()
    os.mkfifo(world["run"] / "detections.json")
    with pytest.raises(InputError, match=r"with detections\.json\.gz in it"):
        report(world, "run")


MEASURED = {
    "scores": {
        "lvis": {
            "bbox": {"metrics": {"AP": 0.123, "AP50": None}},
            "segm": {"metrics": {"AP": 0.077}},
        }
    },
    "naming": {"top1": {"all": 0.456}},
}


def test_annotated_boxes_and_clip_are_told_at_the_top(world: dict[str, Path]) -> None:
    metrics = {"proposals": "gt", "naming": {"top1": {"all": 0.987}}}
    metrics["baselines"] = {"clip-crop": MEASURED, "clip-pool": {}}
    (world["run"] / "metrics.json").write_text(json.dumps(metrics))
    page, figures, *_ = report(world, "run")
    text = page.read_text(encoding="utf-8")
    header, rest = text.split("</header>")
    assert "The boxes are the annotated ones" in header
    table = re.sub(r"<[^>]+>", " ", rest.split("<table>")[1].split("</table>")[0]).split()
    rows = " ".join(table)
    assert rows.startswith("box mask CLIP crop box CLIP crop mask AP 24.5 24.2 12.3 7.7 ")
    assert "45.6" in table
    assert "98.7" in table
    told = json.loads(figures.read_text())
    assert told["runs"][0]["annotated_boxes"] is True
    assert [each["name"] for each in told["runs"][0]["baselines"]] == ["CLIP crop", "CLIP pool"]


def test_runs_of_annotated_boxes_and_of_proposals_are_not_compared(
    world: dict[str, Path],
) -> None:
    _, figures, *_ = report(world, "run", "other")
    (warning,) = json.loads(figures.read_text())["warnings"]
    assert "run was given the annotated boxes and other not" in warning
    _, figures, *_ = report(world, "other")
    assert json.loads(figures.read_text())["warnings"] == []


def test_files_beside_a_page_that_is_new_are_left(world: dict[str, Path]) -> None:
    folder = world["run"].parent
    for name in ("page.json", "page.classes.csv", "page.confusions.csv"):
        (folder / name).write_text("mine")
        with pytest.raises(InputError, match=f"{name} would be written beside it, and is there"):
            report(world, "other", out=folder / "page.html")
        (folder / name).unlink()
    report(world, "other", out=folder / "page.html")
    report(world, "other", out=folder / "page.html")  # its own are written again


def test_names_that_begin_a_formula_are_text_in_the_tables(world: dict[str, Path]) -> None:
    made = json.loads(world["annotations"].read_text())
    names = ["=1+1", "+cmd|' /C calc'!A0", "-1.5", "@SUM(A1)", "\ttab"]
    for category, name in zip(made["categories"], names, strict=True):
        category["name"] = name
    world["annotations"].write_text(json.dumps(made))
    _, _, classes, confusions = report(world, "other")
    with classes.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == [
        "'=1+1", "'+cmd|' /C calc'!A0", "-1.5", "'@SUM(A1)", "'\ttab"
    ]  # fmt: skip
    with confusions.open(encoding="utf-8", newline="") as file:
        pairs = list(csv.DictReader(file))
    assert pairs
    assert not any(row[key].startswith(("=", "+", "@")) for row in pairs for key in row)


def test_a_folder_whose_name_is_not_utf8(world: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"d\xff")
    world["run"].rename(folder)
    page, figures, classes, _ = report(world | {"run": folder}, "run")
    assert json.loads(figures.read_text(encoding="utf-8"))["runs"][0]["name"] == folder.name
    assert page_data(page)["runs"][0]["name"] == folder.name
    assert "AP d\\udcff" in classes.read_text(encoding="utf-8")
