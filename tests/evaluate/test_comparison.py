"""`regionspot evaluate compare`, and the intervals behind it."""

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lvis_sets import LvisSet, perturbed_sample, random_set

from regionspot_core.lvis_scoring import METRICS
from regionspot_evaluate.comparison import published
from regionspot_evaluate.comparison.match_records import MatchRecords, match_images
from regionspot_evaluate.comparison.resampling import draw_images, drawn_figures, interval
from regionspot_evaluate.scoring import Iou, LvisScorer, Protocol, stand_ins
from regionspot_evaluate.scoring.results import read_results
from regionspot_evaluate.scoring.selection import kept_detections

Regionspot = Callable[..., Any]
COMMAND = ["evaluate", "compare", "--annotations", "annotations.json"]


def records_of(truth: Path, found: Path, iou: Iou, protocol: Protocol = "standard") -> MatchRecords:
    scorer = LvisScorer(truth)
    results = read_results(found, scorer.truth, ious=(iou,))
    return match_images(scorer.truth, results, kept_detections(results, protocol), iou=iou)


def same(figure: float | None, drawn: float) -> bool:
    return np.isnan(drawn) if figure is None else abs(figure - drawn) < 1e-11


def distinct_in_image(made: LvisSet) -> LvisSet:
    """Scores tie between images, and not within one."""
    seen: dict[int, int] = {}
    for entry in made.detections:
        seen[entry["image_id"]] = seen.get(entry["image_id"], 0) + 1
        entry["score"] = 1 - seen[entry["image_id"]] / 100
    return made


def copied(made: LvisSet, times: list[int]) -> LvisSet:
    """A set in which image n, by rising id, stands ``times[n]`` times."""
    images = sorted(made.images, key=lambda image: image["id"])
    copies = LvisSet([], made.categories)
    for image, count in zip(images, times, strict=True):
        for _ in range(count):
            number = len(copies.images) + 1
            copies.images.append(deepcopy(image) | {"id": number})
            for entry in made.annotations:
                if entry["image_id"] == image["id"]:
                    new = {"image_id": number, "id": len(copies.annotations) + 1}
                    copies.annotations.append(entry | new)
            copies.detections += [
                entry | {"image_id": number}
                for entry in made.detections
                if entry["image_id"] == image["id"]
            ]
    return copies


@pytest.mark.parametrize("iou", ["bbox", "segm"])
@pytest.mark.parametrize("seed", range(3))
def test_a_draw_is_what_the_reference_finds_in_copies(seed: int, iou: Iou, tmp_path: Path) -> None:
    made = distinct_in_image(random_set(seed))
    records = records_of(*made.write(tmp_path), iou)
    times_NI = draw_images(records.images, times=8, seed=seed)
    assert (times_NI.sum(axis=1) == records.images).all()
    drawn = drawn_figures(records, times_NI)
    assert set(drawn) == set(METRICS)
    for n, times in enumerate(times_NI.tolist()):
        copies = copied(made, times)
        if not copies.detections:
            continue
        truth, found = copies.write(tmp_path)
        expected = LvisScorer(truth, scorer="lvis").score(found, iou=iou)
        for name in METRICS:
            assert same(expected[name], drawn[name][n]), (n, name)


@pytest.mark.parametrize("protocol", ["standard", "fixed"])
@pytest.mark.parametrize("seed", range(3))
def test_every_image_once_is_the_score(seed: int, protocol: Protocol, tmp_path: Path) -> None:
    """Ties within an image, zero areas and images without detections included."""
    truth, found = random_set(seed, found=150).write(tmp_path)
    scores = LvisScorer(truth).score_all(found, ious=("bbox", "segm"), protocols=(protocol,))
    for iou, score in scores[protocol].items():
        records = records_of(truth, found, iou, protocol)
        once = drawn_figures(records, np.ones((1, records.images), dtype=np.int32))
        assert all(same(score[name], once[name][0]) for name in METRICS)


def test_the_sample_once_is_the_score(lvis_sample: Path, tmp_path: Path) -> None:
    """All sizes of region, masks that are no rectangles, files that have masks alone."""
    detections = perturbed_sample(json.loads(lvis_sample.read_text()), seed=0)
    found = tmp_path / "found.json"
    for keys in ((), ("bbox",)):
        found.write_text(
            json.dumps([{k: v for k, v in d.items() if k not in keys} for d in detections])
        )
        score = LvisScorer(lvis_sample).score(found, iou="segm")
        records = records_of(lvis_sample, found, "segm")
        once = drawn_figures(records, np.ones((1, records.images), dtype=np.int32))
        assert all(same(score[name], once[name][0]) for name in METRICS)
        assert score["APl"]


def test_two_images_by_hand(tmp_path: Path) -> None:
    """A region each, of which only the first image's is found."""
    made = LvisSet.empty(2, 1)
    made.annotate(0, 0, [0, 0, 8, 8])
    made.annotate(1, 0, [0, 0, 8, 8])
    made.detect(0, 0, [0, 0, 8, 8], 0.9)
    records = records_of(*made.write(tmp_path), "bbox")
    # image 0 has id 100 and image 1 id 99, so by rising id the found one is the second
    drawn = drawn_figures(records, np.array([[1, 1], [0, 2], [2, 0]], dtype=np.int32))
    assert drawn["AP"] == pytest.approx([51 / 101, 1, 0])  # recalls 0, 0.01 … 0.5 are reached
    assert drawn["AR"] == pytest.approx([0.5, 1, 0])
    assert drawn["APr"] == pytest.approx(drawn["AP"])
    assert np.isnan(drawn["APf"]).all()


def test_interval() -> None:
    assert interval(np.arange(101) / 100) == pytest.approx((0.025, 0.975))
    assert interval(np.array([0.5, np.nan])) == (0.5, 0.5)
    assert interval(np.array([np.nan])) is None
    assert interval(np.array([])) is None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files of one set, and a run of two heads."""
    random_set(2).write(tmp_path)
    entries = json.loads((tmp_path / "detections.json").read_text())
    (tmp_path / "half.json").write_text(json.dumps(entries[::2]))
    for head in ("bb", "bl"):
        (tmp_path / "run" / head).mkdir(parents=True)
        (tmp_path / "run" / head / "detections.json").write_text(json.dumps(entries))
    return tmp_path


def test_tables_and_json(regionspot: Regionspot, folder: Path) -> None:
    runs = ["all=detections.json", "half.json", "run"]
    done = regionspot(*COMMAND, *runs, "--iou", "bbox,segm", "--json", "c.json", cwd=folder)
    assert done.returncode == 0, done.stderr
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert max(map(len, lines)) <= 80
    protocol = "LVIS standard, at most 300 detections an image"
    titles = [line for line in lines if line.startswith(("Box", "Mask"))]
    assert titles[0] == f"Box × 100, {protocol} (hotcoco)"
    assert titles[4] == f"Mask × 100, {protocol} (hotcoco)"
    assert titles[3] == "Box, difference from all, 95 % intervals"
    values = json.loads((folder / "c.json").read_text())
    assert list(values["rows"]) == ["all", "half", "bb", "bl"]
    assert values["protocol"] == protocol
    assert values["bootstrap"] == {"draws": 200, "seed": 0, "level": 0.95}
    assert values["published"] is None
    first, half, same_as_first = (values["rows"][name] for name in ("all", "half", "bb"))
    scorer = LvisScorer(folder / "annotations.json")
    for iou, title in (("bbox", 0), ("segm", 4)):
        expected = scorer.score(folder / "half.json", iou=iou).values
        assert half[iou]["metrics"] == expected
        row = lines[lines.index(titles[title]) + 3].split()
        shown = [name for name in METRICS if name not in ("ARs", "ARm", "ARl")]
        cells = ["–" if expected[m] is None else f"{100 * expected[m]:.1f}" for m in shown]
        assert row == ["half", *cells]
        low, high = half[iou]["intervals"]["AP"]
        assert low < expected["AP"] < high
        assert first[iou]["difference_from_first"] is None
        assert same_as_first[iou]["difference_from_first"]["AP"] == [0, 0]
        assert half[iou]["difference_from_first"]["AP"] != [0, 0]


def test_seed_and_number_of_draws(regionspot: Regionspot, folder: Path) -> None:
    def intervals(*arguments: str) -> Any:
        command = [*COMMAND, "half.json", *arguments, "--json", "c.json"]
        done = regionspot(*command, cwd=folder)
        assert done.returncode == 0, done.stderr
        return json.loads((folder / "c.json").read_text())["rows"]["half"]["bbox"]["intervals"]

    assert intervals("--seed", "1") == intervals("--seed", "1")
    assert intervals("--seed", "1") != intervals("--seed", "2")
    assert intervals("--bootstrap", "0") is None


def test_fixed_says_so(regionspot: Regionspot, folder: Path) -> None:
    done = regionspot(*COMMAND, "half.json", "--protocol", "fixed", "--bootstrap", "0", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "Box × 100, LVIS fixed AP, at most 10,000 detections a class (hotcoco)" in done.stdout
    assert "interval" not in done.stdout


def test_what_hotcoco_cannot_match_has_no_intervals(regionspot: Regionspot, folder: Path) -> None:
    made = random_set(2)
    made.annotations[0]["ignore"] = 1
    made.write(folder)
    done = regionspot(*COMMAND, "half.json", cwd=folder)
    assert done.returncode == 0, done.stderr
    text = " ".join(done.stdout.split())
    assert "half: scored by lvis, without intervals: an annotation has the key ignore" in text
    assert "(lvis)" in text


def test_published_rows(
    regionspot: Regionspot, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same images and by the same protocol only: the two are never mixed."""
    monkeypatch.setattr(published, "IMAGES", {"LVIS v1 val": 6, "LVIS minival": 3})
    monkeypatch.setattr(published, "CLASSES", 5)
    command = [*COMMAND, "half.json", "--published", "--json", "c.json"]
    done = regionspot(*command, "--iou", "bbox,segm", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    rows = [line.split() for line in done.stdout.splitlines() if "BL@336" in line]
    assert [row[-10:] for row in rows] == [
        ["25.0", "–", "–", "–", "–", "–", "26.3", "–", "–", "–"],
        ["21.3", "–", "–", "–", "–", "–", "23.4", "–", "–", "–"],
    ]
    (tap,) = (line.split() for line in done.stdout.splitlines() if "TAP-H" in line)
    assert tap[-4:] == ["61.6", "60.0", "58.2", "–"]
    assert "published: RegionSpot (arXiv 2311.01373)" in done.stdout
    assert "GLIP-L" not in done.stdout
    values = json.loads((folder / "c.json").read_text())["published"]
    assert values["RegionSpot-BB"]["figures"]["bbox"] == {"AP": 0.209, "APr": 0.191}
    fixed = regionspot(*command, "--protocol", "fixed", cwd=folder)
    assert fixed.returncode == 0, fixed.stderr
    assert [line.split()[0] for line in fixed.stdout.splitlines() if ", published" in line] == [
        "GLIP-L,"
    ]
    monkeypatch.setattr(published, "IMAGES", {"LVIS v1 val": 3, "LVIS minival": 6})
    assert list(json.loads((folder / "c.json").read_text())["published"]) == ["GLIP-L"]
    small = regionspot(*command, "--protocol", "fixed", cwd=folder)
    assert "GroundingDINO-L, published" in small.stdout
    wrong = regionspot(*command, cwd=folder)
    assert wrong.returncode == 2
    assert "has 6 images and 5 classes, and the protocol is LVIS standard" in wrong.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["half.json", "--published"], "known of LVIS v1 val (19,809 images) by standard, LVIS v1"),
        (["half.json", "run/bb/../../half.json"], "another row is named 'half'; give NAME=PATH"),
        (["a=half.json", "a=detections.json"], "another row is named 'a'"),
        (["=half.json"], "'=half.json': expected PATH or NAME=PATH"),
        (["a=none.json"], "none.json: no such run"),
        (["."], "expected a folder that `evaluate run` wrote, with detections.json"),
        (["annotations.json"], "annotations.json: expected a list of detections"),
        (["half.json", "--bootstrap", "-1"], "bootstrap: input should be greater than or equal"),
        (["half.json", "--iou", "box"], "iou.0: input should be 'bbox' or 'segm', got 'box'"),
        (["half.json", "--protocol", "loose"], "protocol: input should be 'standard' or 'fixed'"),
        (["half.json", "--json", "none/c.json"], "--json none/c.json: expected an existing folder"),
    ],
)
def test_mistakes(arguments: list[str], message: str, regionspot: Regionspot, folder: Path) -> None:
    (folder / "detections.json").rename(folder / "all.json")
    done = regionspot(*COMMAND, *(a.replace("detections", "all") for a in arguments), cwd=folder)
    assert done.returncode == 2
    assert done.stdout == ""
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("iou", ["bbox", "segm"])
def test_images_of_more_than_hotcoco_takes_have_intervals_too(
    iou: Iou, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = distinct_in_image(random_set(1))
    files = made.write(tmp_path)
    times = draw_images(len(made.images), times=20, seed=0)
    expected = drawn_figures(records_of(*files, iou, "fixed"), times)
    monkeypatch.setattr(stand_ins, "DETECTIONS", 4)
    found = drawn_figures(records_of(*files, iou, "fixed"), times)
    for name in METRICS:
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=1e-12)
