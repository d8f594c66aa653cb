"""`regionspot evaluate compare`, and the intervals behind it."""

import json
import re
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lvis_sets import LvisSet, perturbed_sample, random_set

from interval_coverage import Source, study, whole_figures
from regionspot_core.scoring.figures import COCO_METRICS, METRICS
from regionspot_evaluate.reports.compare.match_records import MatchRecords, match_images
from regionspot_evaluate.reports.compare.precision_curves import drawn_figures
from regionspot_evaluate.reports.compare.resampling import draw_halves, interval
from regionspot_evaluate.scoring.figures import Iou, Protocol
from regionspot_evaluate.scoring.results import read_results
from regionspot_evaluate.scoring.scorer import CocoScorer, LvisScorer
from regionspot_evaluate.scoring.selection import kept_detections

Regionspot = Callable[..., Any]
COMMAND = ["evaluate", "compare", "--annotations", "annotations.json"]


SCORERS = {"lvis": LvisScorer, "lvis-fixed": LvisScorer, "coco": CocoScorer}


def records_of(truth: Path, found: Path, iou: Iou, protocol: Protocol = "lvis") -> MatchRecords:
    scorer = SCORERS[protocol](truth)
    results = read_results(found, scorer.truth, ious=(iou,))
    return match_images(scorer.truth, results, kept_detections(results, protocol), iou=iou)


def same(figure: float | None, drawn: float) -> bool:
    return np.isnan(drawn) if figure is None else abs(figure - drawn) < 1e-11


def distinct_in_image(made: LvisSet) -> LvisSet:
    """Scores tie between images, and not within one."""
    seen: dict[int, int] = {}
    for entry in made.detections:
        seen[entry["image_id"]] = seen.get(entry["image_id"], 0) + 1
        entry["score"] = 1 - seen[entry["image_id"]] / 1_000
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


@pytest.mark.parametrize("protocol", ["lvis", "coco"])
@pytest.mark.parametrize("iou", ["bbox", "segm"])
@pytest.mark.parametrize("seed", range(3))
def test_a_draw_is_what_the_reference_finds_in_copies(
    seed: int, iou: Iou, protocol: Protocol, tmp_path: Path
) -> None:
    """Crowds and several detections of a class in an image included."""
    made = distinct_in_image(random_set(seed))
    records = records_of(*made.write(tmp_path), iou, protocol)
    times_NI = np.random.default_rng(seed).integers(0, 4, (8, records.images))
    drawn = drawn_figures(records, times_NI)
    metrics = COCO_METRICS if protocol == "coco" else METRICS
    assert tuple(drawn) == metrics
    for n, times in enumerate(times_NI.tolist()):
        copies = copied(made, times)
        if not copies.detections:
            continue
        truth, found = copies.write(tmp_path)
        expected = SCORERS[protocol](truth, scorer="reference").score(found, iou=iou)
        for name in metrics:
            assert same(expected[name], drawn[name][n]), (n, name)


@pytest.mark.parametrize(
    ("protocol", "seed", "images", "found"),
    [
        *((protocol, seed, 6, 150) for protocol in SCORERS for seed in range(3)),
        ("coco", 9, 2, 1500),  # of a class in an image more than the hundred that count
    ],
)
def test_every_image_once_is_the_score(
    protocol: Protocol, seed: int, images: int, found: int, tmp_path: Path
) -> None:
    """Ties within an image, areas of all sizes and none, images without detections included."""
    made = random_set(seed, images=images, found=found)
    random = np.random.default_rng(seed)
    for annotation in made.annotations:
        annotation["area"] *= float(random.choice([1, 20, 200]))
    truth, detections = made.write(tmp_path)
    by_protocol = SCORERS[protocol](truth).score_all(
        detections, ious=("bbox", "segm"), protocols=(protocol,)
    )
    for iou, score in by_protocol[protocol].items():
        records = records_of(truth, detections, iou, protocol)
        once = drawn_figures(records, np.ones((1, records.images), dtype=np.int32))
        assert list(once) == list(score.values)
        assert all(same(value, once[name][0]) for name, value in score.values.items())


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


def test_recalls_of_the_first_detections_by_hand(tmp_path: Path) -> None:
    """The second region is found by the eleventh detection of its class."""
    made = LvisSet.empty(1, 1)
    made.annotate(0, 0, [0, 0, 8, 8])
    made.annotate(0, 0, [16, 0, 8, 8])
    made.detect(0, 0, [0, 0, 8, 8], 0.99)
    for number in range(9):
        made.detect(0, 0, [40, 40, 8, 8], 0.9 - number / 100)
    made.detect(0, 0, [16, 0, 8, 8], 0.1)
    records = records_of(*made.write(tmp_path), "bbox", "coco")
    drawn = drawn_figures(records, np.array([[1], [3]], dtype=np.int32))
    expected = {"AR1": 0.5, "AR10": 0.5, "AR100": 1}
    assert {name: drawn[name].tolist() for name in expected} == {
        name: [value] * 2 for name, value in expected.items()
    }


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


def test_no_draw_is_no_figure(tmp_path: Path) -> None:
    records = records_of(*random_set(0).write(tmp_path), "bbox")
    assert drawn_figures(records, draw_halves(records.images, times=0, seed=0)) == {}


@pytest.mark.parametrize("images", [2, 7, 30])
def test_a_half_has_each_image_once_or_not(images: int) -> None:
    halves = draw_halves(images, times=400, seed=1)
    assert set(np.unique(halves)) == {0, 1}
    assert (halves.sum(axis=1) == images // 2).all()
    assert halves.mean(axis=0) == pytest.approx(images // 2 / images, abs=0.1)


@pytest.mark.parametrize("images", [50, 51])
def test_the_interval_of_a_mean_is_the_textbook_one(images: int) -> None:
    """A mean over images has the standard error s / √n."""
    values = np.random.default_rng(3).normal(0.5, 0.2, images)
    halves = draw_halves(images, times=5_000, seed=0)
    drawn = halves @ values / halves.sum(axis=1)
    ends = interval(float(values.mean()), drawn, images=images)
    assert ends is not None
    reach = 1.96 * values.std(ddof=1) / images**0.5
    assert ends == pytest.approx((values.mean() - reach, values.mean() + reach), abs=reach / 20)


def test_few_draws_make_wide_intervals() -> None:
    """By Student's t: 2.262 with ten draws, and far more with two."""
    drawn = np.tile([0.4, 0.6], 5)
    ends = interval(0.5, drawn, images=20)
    assert ends is not None
    assert ends[1] - 0.5 == pytest.approx(2.262 * drawn.std(ddof=1), rel=5e-3)
    two = interval(0.5, np.array([0.4, 0.6]), images=20)
    assert two is not None
    assert two[1] - 0.5 > 3 * (ends[1] - 0.5)


def test_what_cannot_be_known_has_no_interval() -> None:
    nan = np.nan
    assert interval(None, np.array([0.5, 0.6]), images=4) is None
    assert interval(0.5, np.array([]), images=4) is None
    assert interval(0.5, np.array([0.5]), images=4) is None
    assert interval(0.5, np.array([nan] * 20), images=4) is None
    assert interval(0.5, np.array([0.5] * 18 + [nan] * 2), images=4) is None  # one in ten halves
    assert interval(0.5, np.array([0.5] * 19 + [nan]), images=4) == (0.5, 0.5)


@pytest.mark.slow
def test_intervals_hold_what_they_should() -> None:
    """Of 80 sets of a known process: the mean over sets, and always the set's own figure.

    Fewer than 70 would come of intervals that hold 95 % in one of 400 such tests. Draws with
    replacement make intervals of 0.8 of the right width.
    """
    method = "random halves (what compare does)"
    found = study(
        Source(classes=40, negatives=4),
        images=60, sets=80, draws=60, means=300, many=1_000, methods=(method,),
    )  # fmt: skip
    for figure in ("AP", "difference in AP", "difference in APf"):
        coverage = found.coverage[method][figure]
        assert coverage.covers >= 70 / 80, figure
        assert coverage.own == 1
        assert 0.85 < coverage.width < 1.25  # no wider than it must be


def test_a_set_whose_draws_with_replacement_lie_above_its_figure() -> None:
    """The reported case: the interval of such draws excluded the figure itself."""
    images = 400
    source = Source(classes=250, negatives=250)  # every class is looked for, as in the demo's world
    records, _ = source.draw(images, np.random.default_rng(0))
    figure = whole_figures(records)["AP"]
    draws = np.random.default_rng(0).multinomial(images, np.full(images, 1 / images), 100)
    assert np.quantile(drawn_figures(records, draws)["AP"], 0.025) > figure
    halves = drawn_figures(records, draw_halves(images, times=100, seed=0))["AP"]
    ends = interval(figure, halves, images=images)
    assert ends is not None
    assert ends[0] < figure < ends[1]


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


def cells_of(lines: list[str], title: str, row: str) -> list[str]:
    """The cells of a table's row, which stand two spaces apart or more."""
    below = lines[lines.index(title) + 1 :]
    line = next(line for line in below if re.match(rf"{re.escape(row)} {{2}}", line))
    return re.split(r" {2,}", line[len(row) :].strip())


def shown(value: float | None, ends: list[float] | None, sign: str = "") -> str:
    """As a reader should see a figure and its interval."""
    if value is None:
        return "–"
    if ends is None:
        return f"{100 * value:.1f}"
    return f"{100 * value:{sign}.1f} [{100 * ends[0]:{sign}.1f}, {100 * ends[1]:{sign}.1f}]"


def test_tables_and_json(regionspot: Regionspot, folder: Path) -> None:
    runs = ["half.json", "all=detections.json", "run"]  # neither by name nor by figure
    done = regionspot(*COMMAND, *runs, "--iou", "bbox,segm", "--json", "c.json", cwd=folder)
    assert done.returncode == 0, done.stderr
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert max(map(len, lines)) <= 80
    protocol = "LVIS standard, at most 300 detections an image"
    main = f"{protocol} (hotcoco), × 100"
    titles = [line for line in lines if line.endswith("× 100")]
    parts = ("by frequency", "other figures")
    assert titles == [main, *(f"{k}, {part}, × 100" for k in ("Box", "Mask") for part in parts)]
    values = json.loads((folder / "c.json").read_text())
    assert list(values["rows"]) == ["half", "all", "bb", "bl"]
    start = lines.index(main)
    rows = [re.split(r" {2,}", line)[0] for line in lines[start + 2 : lines.index(titles[1])]]
    assert rows == ["half", "all", "", "bb", "", "bl", ""]  # below the others − half
    assert values["protocol"] == protocol
    assert values["plan"]["protocols"] == ["lvis"]
    assert values["bootstrap"] == {
        "draws": 200, "of": "half of the images, without replacement", "seed": 0, "level": 0.95,
    }  # fmt: skip
    assert values["published"] is None
    first, other = values["rows"]["half"], values["rows"]["all"]
    scorer = LvisScorer(folder / "annotations.json")
    for column, iou in enumerate(("bbox", "segm")):
        expected = scorer.score(folder / "half.json", iou=iou).values
        assert first[iou]["metrics"] == expected
        assert first[iou]["difference_from_first"] is None
        for name in METRICS:
            ends = first[iou]["intervals"][name]
            if ends is not None:
                assert 0 <= ends[0] <= expected[name] <= ends[1] <= 1
        cell = shown(expected["AP"], first[iou]["intervals"]["AP"])
        assert cells_of(lines, main, "half")[column] == cell
        difference = other[iou]["difference_from_first"]["AP"]
        assert difference["value"] == other[iou]["metrics"]["AP"] - expected["AP"]
        assert difference["interval"][0] <= difference["value"] <= difference["interval"][1]
        cell = shown(difference["value"], difference["interval"], "+")
        assert cells_of(lines, main, "  − half")[column] == cell
        table = titles[1 + 2 * column]
        assert cells_of(lines, table, "half") == [
            shown(expected[name], first[iou]["intervals"][name]) for name in ("APr", "APc", "APf")
        ]
        names = ("AP50", "AP75", "APs", "APm", "APl", "AR")
        others = titles[2 + 2 * column]
        assert cells_of(lines, others, "half") == [shown(expected[name], None) for name in names]
    assert "x [lo, hi]: 95 % interval for other sets of 6 images" in done.stdout


def test_one_head_twice_differs_by_nothing(regionspot: Regionspot, folder: Path) -> None:
    done = regionspot(*COMMAND, "run", "--json", "c.json", cwd=folder)
    assert done.returncode == 0, done.stderr
    second = json.loads((folder / "c.json").read_text())["rows"]["bl"]["bbox"]
    assert second["difference_from_first"]["AP"] == {"value": 0, "interval": [0, 0]}
    assert "+0.0 [+0.0, +0.0]" in done.stdout


def write_ranks(folder: Path, *, first: str) -> None:
    """What `evaluate run` writes of six images: one is unreadable, one has no known region."""
    truth = json.loads((folder / "annotations.json").read_text())
    ids = [image["id"] for image in truth["images"]]
    ranks = [[0, 0], [0, 3, 7], [0, 1], [], [4]]
    lines: list[Any] = [
        {"image_id": i, "regions": len(r), "true": [1] * len(r), "ranks": r,
         "baseline_ranks": {"clip-crop": [0] * len(r)}}
        for i, r in zip(ids, ranks, strict=False)
    ]  # fmt: skip
    lines.append({"image_id": ids[5], "failed": "5.png: cannot be read"})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / first / "images.jsonl").write_text(text)


def test_top_1_of_run_folders_and_their_baselines(regionspot: Regionspot, folder: Path) -> None:
    write_ranks(folder, first="run/bb")
    entries = (folder / "half.json").read_text()
    (folder / "run" / "baseline_clip_crop.json").write_text(entries)  # of both heads
    runs = ["run/bb", "clip=run/baseline_clip_crop.json", "half.json", "run/bl"]
    done = regionspot(*COMMAND, *runs, "--json", "c.json", cwd=folder)
    assert done.returncode == 0, done.stderr
    rows = json.loads((folder / "c.json").read_text())["rows"]
    # of eight regions four are named right, and the second name is right once more
    assert rows["bb"]["regions"]["metrics"] == {"top1": 0.5, "top5": 7 / 8}
    assert rows["clip"]["regions"]["metrics"] == {"top1": 1, "top5": 1}
    assert rows["half"]["regions"] is rows["bl"]["regions"] is None
    assert rows["clip"]["regions"]["intervals"]["top1"] == [1, 1]
    difference = rows["clip"]["regions"]["difference_from_first"]["top1"]
    assert difference["value"] == 0.5
    low, high = rows["bb"]["regions"]["intervals"]["top1"]
    assert low < 0.5 < high
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    title = "LVIS standard, at most 300 detections an image (hotcoco), × 100"
    assert cells_of(lines, title, "bb")[1] == shown(0.5, [low, high])
    assert cells_of(lines, title, "half")[1] == "–"
    assert cells_of(lines, title, "  − bb")[1] == shown(0.5, difference["interval"], "+")


def test_top_1_has_the_error_of_a_share_over_images(regionspot: Regionspot, folder: Path) -> None:
    """Against the draws worked out region by region."""
    write_ranks(folder, first="run/bb")
    command = [*COMMAND, "run/bb", "--bootstrap", "50", "--json", "c.json"]
    assert regionspot(*command, cwd=folder).returncode == 0
    # by rising id, the other way round than the file has them
    ranks = [[], [4], [], [0, 1], [0, 3, 7], [0, 0]]
    shares = []
    for half in draw_halves(6, times=50, seed=0).tolist():
        drawn = [rank for times, own in zip(half, ranks, strict=True) for rank in own * times]
        shares.append(sum(rank == 0 for rank in drawn) / len(drawn) if drawn else np.nan)
    expected = interval(0.5, np.array(shares), images=6)
    found = json.loads((folder / "c.json").read_text())["rows"]["bb"]["regions"]["intervals"]
    if expected is None:
        assert found["top1"] is None
    else:
        assert found["top1"] == pytest.approx(np.clip(expected, 0, 1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"image_id": 1, "ranks": []}', "image 1 is not in the annotations annotations.json"),
        ('{"image_id": 100, "ranks": [-1]}', "expected the list of images that `evaluate run`"),
        ('{"image_id": 100, "ranks": "0"}', "expected the list of images that `evaluate run`"),
        (f'{{"image_id": {10**30}}}', "expected the list of images that `evaluate run`"),
        ("[" * 100_000, "expected the list of images that `evaluate run`"),
        ('{"image_id": 100', "expected the list of images that `evaluate run`"),
    ],
)
def test_image_lists_that_are_none(
    text: str, message: str, regionspot: Regionspot, folder: Path
) -> None:
    (folder / "run" / "bb" / "images.jsonl").write_text(text)
    done = regionspot(*COMMAND, "run", cwd=folder)
    assert done.returncode == 2
    assert f"run/bb/images.jsonl: {message}" in done.stderr
    assert done.stderr.count("\n") == 1


def test_seed_and_number_of_draws(regionspot: Regionspot, folder: Path) -> None:
    def intervals(*arguments: str) -> Any:
        command = [*COMMAND, "half.json", *arguments, "--json", "c.json"]
        done = regionspot(*command, cwd=folder)
        assert done.returncode == 0, done.stderr
        return json.loads((folder / "c.json").read_text())["rows"]["half"]["bbox"]["intervals"]

    assert intervals("--seed", "1") == intervals("--seed", "1")
    assert intervals("--seed", "1") != intervals("--seed", "2")
    assert intervals("--bootstrap", "0") is None


@pytest.mark.parametrize("masks", [True, False])
@pytest.mark.parametrize("bootstrap", [50, 0])
def test_rules_follow_from_the_annotations(
    regionspot: Regionspot, folder: Path, masks: bool, bootstrap: int
) -> None:
    """Of a file of COCO's layout every figure is that of `evaluate score`, with intervals."""
    truth = json.loads((folder / "annotations.json").read_text())
    for image in truth["images"]:
        del image["neg_category_ids"], image["not_exhaustive_category_ids"]
    for annotation in truth["annotations"]:
        if not masks:
            del annotation["segmentation"]
    (folder / "annotations.json").write_text(json.dumps(truth))
    ious = ("bbox", "segm") if masks else ("bbox",)
    words = ["half.json", "run", "--iou", ",".join(ious), "--bootstrap", str(bootstrap)]
    done = regionspot(*COMMAND, *words, "--json", "c.json", cwd=folder)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].strip() == "COCO, at most 100 detections a class and image (hotcoco), × 100"
    assert "scored by COCO's rules" in done.stdout
    assert "Box, by size, × 100" in done.stdout
    values = json.loads((folder / "c.json").read_text())
    assert values["plan"]["protocols"] == ["coco"]
    row = values["rows"]["bl"]
    score = ["--detections", "run/bl/detections.json", "--iou", ",".join(ious)]
    scored = regionspot("evaluate", "score", *COMMAND[2:], *score, "--json", "s.json", cwd=folder)
    assert scored.returncode == 0, scored.stderr
    expected = json.loads((folder / "s.json").read_text())
    for iou in ious:
        assert row[iou]["metrics"] == pytest.approx(expected[iou], abs=1e-6)
        assert list(row[iou]["metrics"]) == list(COCO_METRICS)
        intervals = row[iou]["intervals"]
        if not bootstrap:
            assert intervals is None
            continue
        low, high = intervals["AR10"]
        assert low <= row[iou]["metrics"]["AR10"] <= high
    if not masks:
        refused = regionspot(*COMMAND, "half.json", "--iou", "segm", cwd=folder)
        assert refused.returncode == 2
        assert "masks cannot be scored, since annotation 1 has no mask" in refused.stderr


def test_runs_of_some_of_the_images(regionspot: Regionspot, folder: Path) -> None:
    """Of two heads that held out other images, and a detector of all: those that all have."""
    truth = json.loads((folder / "annotations.json").read_text())
    ids = [image["id"] for image in truth["images"]]
    entries = json.loads((folder / "detections.json").read_text())
    own = {"bb": ids[:5], "bl": ids[2:]}
    for head, images in own.items():
        some = [entry for entry in entries if entry["image_id"] in images]
        (folder / "run" / head / "detections.json").write_text(json.dumps(some))
        record = {"scored_images": images, "annotations": "of what it was scored on"}
        (folder / "run" / head / "run.json").write_text(json.dumps(record))
        ranks = [{"image_id": image, "ranks": [image % 2]} for image in images]
        text = "".join(json.dumps(line) + "\n" for line in ranks)
        (folder / "run" / head / "images.jsonl").write_text(text)
    done = regionspot(*COMMAND, "run", "detections.json", "--json", "c.json", cwd=folder)
    assert done.returncode == 0, done.stderr
    said = "scoring the 3 of 6 images that run/bb/run.json and run/bl/run.json were made of"
    assert said in done.stderr
    rows = json.loads((folder / "c.json").read_text())["rows"]
    common = ids[2:5]
    small = LvisSet(
        [image for image in truth["images"] if image["id"] in common],
        truth["categories"],
        [entry for entry in truth["annotations"] if entry["image_id"] in common],
        [entry for entry in entries if entry["image_id"] in common],
    )
    (folder / "small").mkdir()
    expected = LvisScorer(small.write(folder / "small")[0]).score(
        folder / "small" / "detections.json", iou="bbox"
    )
    for row in rows.values():
        assert row["bbox"]["metrics"] == expected.values
    named = sum(image % 2 == 0 for image in common) / 3
    assert rows["bb"]["regions"]["metrics"]["top1"] == pytest.approx(named)

    (folder / "run" / "bl" / "run.json").write_text(json.dumps({"scored_images": ids[5:]}))
    none = regionspot(*COMMAND, "run", cwd=folder)
    assert none.returncode == 2
    assert "expected evaluations of the same images, got none in common" in none.stderr


def test_fixed_says_so(regionspot: Regionspot, folder: Path) -> None:
    done = regionspot(
        *COMMAND, "half.json", "--protocol", "lvis-fixed", "--bootstrap", "0", cwd=folder
    )
    assert done.returncode == 0, done.stderr
    assert "LVIS fixed AP, at most 10,000 detections a class (hotcoco), × 100" in done.stdout
    assert "interval" not in done.stdout
    assert "[" not in done.stdout


def test_what_hotcoco_cannot_match_has_no_intervals(regionspot: Regionspot, folder: Path) -> None:
    made = random_set(2)
    made.annotations[0]["ignore"] = 1
    made.write(folder)
    done = regionspot(*COMMAND, "half.json", cwd=folder)
    assert done.returncode == 0, done.stderr
    text = " ".join(done.stdout.split())
    assert "half: scored by lvis, without intervals: an annotation has the key ignore" in text
    assert "(lvis)" in text


def pad(annotations: Path, *, images: int, classes: int = 1_203) -> None:
    """Add images and classes of which nothing is said, up to so many."""
    content = json.loads(annotations.read_text())
    image = content["images"][-1] | {"neg_category_ids": [], "not_exhaustive_category_ids": []}
    numbers = range(len(content["images"]), images)
    content["images"] += [image | {"id": 1_000 + n} for n in numbers]
    numbers = range(len(content["categories"]), classes)
    content["categories"] += [{"id": 1_000 + n, "name": str(n), "frequency": "f"} for n in numbers]
    annotations.write_text(json.dumps(content))


def test_published_rows(regionspot: Regionspot, folder: Path) -> None:
    """Of the same images and by the same protocol only: the two are never mixed."""
    pad(folder / "annotations.json", images=4_809)
    command = [*COMMAND, "half.json", "--published", "--bootstrap", "2", "--json", "c.json"]
    small = regionspot(*command, "--protocol", "lvis-fixed", cwd=folder)
    assert "GroundingDINO-L, published" in small.stdout
    wrong = regionspot(*command, cwd=folder)
    assert wrong.returncode == 2
    named = "has 4,809 images and 1,203 classes, and the protocol is LVIS standard"
    assert named in wrong.stderr
    pad(folder / "annotations.json", images=19_809)
    done = regionspot(*command, "--iou", "bbox,segm", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    main = "LVIS standard, at most 300 detections an image (hotcoco), × 100"
    own, tap = "RegionSpot-BL@336, published", "TAP-H, published"
    assert cells_of(lines, main, own) == ["25.0", "21.3"]
    assert cells_of(lines, main, tap) == ["59.6", "–"]
    assert cells_of(lines, "Box, by frequency, × 100", own) == ["26.3", "–", "–"]
    assert cells_of(lines, "Box, by frequency, × 100", tap) == ["61.6", "60.0", "58.2"]
    assert cells_of(lines, "Mask, by frequency, × 100", own) == ["23.4", "–", "–"]
    assert "published: RegionSpot (arXiv 2311.01373)" in done.stdout
    assert "GLIP-L" not in done.stdout
    values = json.loads((folder / "c.json").read_text())["published"]
    assert values["RegionSpot-BB"]["figures"]["bbox"] == {"AP": 0.209, "APr": 0.191}
    fixed = regionspot(*command, "--protocol", "lvis-fixed", cwd=folder)
    assert fixed.returncode == 0, fixed.stderr
    named = [line.split()[0] for line in fixed.stdout.splitlines() if ", published" in line]
    assert named == ["GLIP-L,"] * 2  # box AP, and by frequency
    assert list(json.loads((folder / "c.json").read_text())["published"]) == ["GLIP-L"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["half.json", "--published"],
            "LVIS v1 val (19,809 images) by lvis-fixed, LVIS v1",
        ),
        (["half.json", "run/bb/../../half.json"], "another row is named 'half'; give NAME=PATH"),
        (["a=half.json", "a=detections.json"], "another row is named 'a'"),
        (["=half.json"], "'=half.json': expected PATH or NAME=PATH"),
        (["a=none.json"], "none.json: no such run"),
        (["."], "expected a folder that `evaluate run` wrote, with detections.json"),
        (["annotations.json"], "annotations.json: expected a list of detections"),
        (["half.json", "--bootstrap", "-1"], "bootstrap: input should be greater than or equal"),
        (["half.json", "--iou", "box"], "iou.0: input should be 'bbox' or 'segm', got 'box'"),
        (["half.json", "--protocol", "loose"], "expected protocol lvis, lvis-fixed or coco"),
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
def test_images_of_more_than_hotcoco_takes_have_intervals_too(iou: Iou, tmp_path: Path) -> None:
    """It takes 300 detections an image. Two images have 400 each here."""
    made = distinct_in_image(random_set(1, images=3, classes=8, found=800))
    records = records_of(*made.write(tmp_path), iou, "lvis-fixed")
    times_NI = np.array([[1, 1, 1], [0, 2, 1], [1, 0, 3]], dtype=np.int32)
    drawn = drawn_figures(records, times_NI)
    for n, times in enumerate(times_NI.tolist()):
        truth, found = copied(made, times).write(tmp_path)
        scorer = LvisScorer(truth, scorer="reference")
        expected = scorer.score(found, iou=iou, protocol="lvis-fixed")
        for name in METRICS:
            assert same(expected[name], drawn[name][n]), (n, name)
