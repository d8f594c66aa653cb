"""Baselines and protocols of an evaluation: who names the regions, and what scores them."""

import json
import operator
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.table import Table
from small_evaluation import BASELINE_FILES, IMAGES, config, results_in
from stepping import numbers_at

from regionspot_core.backbones.loading import Backbones
from regionspot_core.datasets.reading import read_annotations
from regionspot_core.imaging.images import read_image
from regionspot_core.imaging.prompts import BoxPrompts
from regionspot_core.testing import files_of
from regionspot_core.text.class_bank import ClassBank
from regionspot_evaluate.folder.detections import image_detections
from regionspot_evaluate.proposals.sources import load_proposals
from regionspot_evaluate.recognition.baselines.load import load_baselines
from regionspot_evaluate.recognition.baselines.names import BASELINES
from regionspot_evaluate.recognition.image_regions import show
from regionspot_evaluate.recognition.recognizer import Recognizer
from regionspot_evaluate.reports.printing import EvaluationReport, evaluation_output
from regionspot_evaluate.run import run_evaluation
from regionspot_evaluate.scoring.figures import BOTH
from regionspot_evaluate.scoring.scorer import LvisScorer

Evaluated = tuple[Path, EvaluationReport]


@pytest.fixture(scope="module")
def scored(evaluated: Evaluated, tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    """A copy to score again."""
    out = tmp_path_factory.mktemp("scored") / "out"
    return shutil.copytree(evaluated[0], out), evaluated[1]


@pytest.fixture
def no_models() -> Iterator[None]:
    with numbers_at("recognise batch") as batches:
        yield
    assert batches == []


@pytest.mark.usefixtures("no_models")
def test_a_finished_evaluation_is_scored_by_another_protocol(
    place: Path, scored: Evaluated
) -> None:
    """Without a model; and scored as at first again, the file is the same."""
    out, first = scored
    before = files_of(out)
    report = run_evaluation(config(place, out, protocol="lvis-fixed,lvis"))
    written = json.loads((out / "metrics.json").read_bytes())
    scorer = LvisScorer(place / "world" / "val.json")
    for figures, told, file in (
        (report.head, written, "detections.json.gz"),
        (report.baselines["clip-pool"], written["baselines"]["clip-pool"], BASELINE_FILES[2]),
    ):
        assert list(figures.scores) == ["lvis-fixed", "lvis"]
        for protocol, scores in figures.scores.items():
            expected = {iou: scorer.score(out / file, iou=iou, protocol=protocol) for iou in BOTH}
            assert scores == expected
            assert told["scores"][protocol] == {iou: expected[iou].to_json() for iou in BOTH}
    assert run_evaluation(config(place, out)) == first
    assert files_of(out) == before


@pytest.mark.usefixtures("no_models")
def test_the_reference_may_score(place: Path, scored: Evaluated) -> None:
    out, _ = scored
    report = run_evaluation(config(place, out, protocol="lvis-fixed", scorer="reference"))
    scorer = LvisScorer(place / "world" / "val.json", scorer="reference")
    found = out / "detections.json.gz"
    assert report.head.scores == scorer.score_all(found, ious=BOTH, protocols=("lvis-fixed",))
    for figures in report.baselines.values():
        (scores,) = figures.scores.values()
        assert {score.scorer for score in scores.values()} == {"reference"}


def test_baselines_answer_for_the_heads_own_regions(
    place: Path, backbones: Backbones, evaluated: Evaluated
) -> None:
    """With the same boxes and masks, so that their mask AP can be compared; named anew here."""
    out, report = evaluated
    clip = backbones.image_text_encoder
    annotations = read_annotations(place / "world" / "val.json")
    proposals = load_proposals("gt", annotations)
    assert proposals is not None
    baselines = load_baselines(BASELINES, clip, ClassBank.load(place / "bank.h5"))
    recognizer = Recognizer.load(
        place / "first",
        backbones,
        ClassBank.load(place / "bank.h5"),
        device=torch.device("cpu"),
        embed_regions={"tokens", "crop", "masked-crop"},
    )
    by_image = {}
    for name in ("detections.json.gz", *BASELINE_FILES):
        for entry in results_in(out / name):
            by_image.setdefault((name, entry["image_id"]), []).append(entry)
    for i in (0, 5):
        pixels = read_image(place / "world" / "val" / annotations.image_file[i])
        (encoded,) = recognizer.encode([pixels])
        seen = recognizer.segment(encoded, BoxPrompts(proposals[i].boxes))
        shown = show(encoded, seen, pixels)
        for name, file in zip(BASELINES, BASELINE_FILES, strict=True):
            expected = image_detections(
                int(annotations.image_id[i]),
                proposals[i],
                baselines[name].probabilities(shown),
                vocabulary=annotations.vocabulary,
                limit=300,
                masks=seen.masks,
            )
            found = by_image[file, int(annotations.image_id[i])]
            key = operator.itemgetter("category_id", "bbox")
            # Alone, an image's figures differ in their last bits, and so may the order of ties.
            for one, other in zip(sorted(found, key=key), sorted(expected, key=key), strict=True):
                assert one.pop("score") == pytest.approx(other.pop("score"), abs=1e-5)
                assert one == other
    crop, masked, pool, tokens, wide, wide_masked = (
        report.baselines[name].region.top1["all"] for name in BASELINES
    )
    # Far above the head, which has learnt nothing.
    assert min(crop, masked, tokens, wide_masked) > 0.5
    assert wide > crop  # it sees the thing's surroundings
    assert pool < 0.1  # this CLIP has learnt to read its CLS token, and not its patches


@pytest.mark.usefixtures("no_models")
def test_fixed_says_what_was_cut(place: Path, scored: Evaluated) -> None:
    """Of ten images that could be read, all those with two regions of 252 classes or more."""
    out, _ = scored
    report = run_evaluation(config(place, out, protocol="lvis,lvis-fixed"))
    lines = [json.loads(line) for line in (out / "images.jsonl").read_text().splitlines()]
    many = sum(line.get("regions", 0) > 1 for line in lines)
    assert report.cut == many > 5
    output = evaluation_output({"head": report})
    (remark,) = (line for line in output if isinstance(line, str) and "kept" in line)
    assert remark.startswith(f"{many} of {IMAGES} images had more than the 300 detections kept")
    titles = [str(part.title) if isinstance(part, Table) else "" for part in output]
    expected = ["LVIS standard", "LVIS standard", "LVIS fixed AP", "LVIS fixed AP"]
    assert [title.split(", ")[1] for title in titles if "×" in title] == expected
    assert "fixed AP" in titles[output.index(remark) - 1]  # under the table it is about
    alone = run_evaluation(config(place, out))
    assert not any("kept" in str(part) for part in evaluation_output({"head": alone}))


@pytest.mark.parametrize(
    ("proposals", "asked", "expected"),
    [
        ("gt", None, ("clip-crop", "clip-pool")),
        ("auto", None, ()),
        ("file.json", None, ()),
        ("gt", ["none"], ()),
        ("auto", ["clip-pool", "clip-crop", "clip-pool"], ("clip-crop", "clip-pool")),
    ],
)
def test_who_names_the_regions(
    proposals: str, asked: list[str] | None, expected: tuple[str, ...], tmp_path: Path
) -> None:
    """By default, CLIP where boxes are few; the order they are asked in says nothing."""
    found = config(tmp_path, tmp_path / "out", proposals=proposals, baseline=asked)
    assert found.baselines == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--baseline", "clip"],
            "baseline: expected clip-crop, clip-masked-crop, clip-pool, "
            "region-tokens, region-crop, region-masked-crop, none; got 'clip'",
        ),
        (
            ["--baseline", "none", "--baseline", "clip-pool"],
            "baseline: expected none alone, or baselines; got none and clip-pool",
        ),
        (["--protocol", "lvis,best"], "protocol.1: expected protocol lvis, lvis-fixed or coco"),
        (["--protocol", ""], "--protocol: expected a value, got an empty text"),
        (["--scorer", "best"], "scorer: input should be 'fast' or 'reference', got 'best'"),
        (["--no-baseline"], "No such option: --no-baseline"),
    ],
)
def test_mistakes(
    arguments: list[str], message: str, place: Path, regionspot: Callable[..., Any], tmp_path: Path
) -> None:
    done = regionspot(
        "evaluate", "run", "--images", "world/val", "--annotations", "world/val.json",
        "--head", "first", "--out", str(tmp_path / "out"), *arguments, cwd=place,
    )  # fmt: skip
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
