"""A baseline and a scorer of this file go through the public commands by their names."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from small_evaluation import results_in
from typer.testing import CliRunner

from regionspot.cli import app
from regionspot_core.backbones.protocols import ImageTextEncoder
from regionspot_core.datasets.reading import read_annotations
from regionspot_core.datasets.table import AnnotationTable
from regionspot_core.text.class_bank import ClassBank
from regionspot_evaluate.recognition.baselines.names import (
    BASELINE_TABLE,
    BaselineEntry,
    register_baseline,
)
from regionspot_evaluate.recognition.baselines.protocol import ShownRegions
from regionspot_evaluate.scoring.figures import Counts, Iou, Protocol, Score
from regionspot_evaluate.scoring.registry import PROTOCOL_TABLE, ScorerEntry, register_scorer
from regionspot_evaluate.scoring.results import Results, read_results


class Constant:
    """A baseline that calls every region by the vocabulary's third name."""

    def __init__(self, encoder: ImageTextEncoder, bank: ClassBank) -> None:
        self._classes = len(bank.vocabulary)

    def probabilities(self, shown: ShownRegions) -> NDArray[np.float32]:
        return np.tile(np.eye(self._classes, dtype=np.float32)[2], (len(shown.boxes), 1))


@dataclass
class HighestScore:
    """A scorer whose one figure is the highest score of a file."""

    table: AnnotationTable

    def __post_init__(self) -> None:
        self.truth = self.table.truth(federated=False)

    def score_all(
        self,
        detections: Path | Results,
        *,
        ious: Sequence[Iou],
        protocols: Sequence[Protocol],
    ) -> dict[Protocol, dict[Iou, Score]]:
        results = detections
        if isinstance(results, Path):
            results = read_results(results, self.truth, ious=ious)
        counts = Counts(1, 1, len(results.score), len(results.score), len(results.score))
        values = {"highest": float(results.score.max())}
        score = {
            iou: Score(iou, values, "highest score", "reference", "tests", counts) for iou in ious
        }
        return dict.fromkeys(protocols, score)


@pytest.fixture
def tables() -> Iterator[None]:
    """Both tables, as they were before."""
    before = dict(BASELINE_TABLE), dict(PROTOCOL_TABLE)
    yield
    for table, content in zip((BASELINE_TABLE, PROTOCOL_TABLE), before, strict=True):
        table.clear()
        table.update(content)  # type: ignore[arg-type]


def command(*words: object) -> str:
    done = CliRunner().invoke(app, ["evaluate", *map(str, words)])
    assert done.exit_code == 0, done.output
    return done.output


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


@pytest.mark.usefixtures("tables")
def test_a_baseline_and_a_scorer_from_outside(place: Path, tmp_path: Path) -> None:
    register_baseline("constant", BaselineEntry("Third name", Constant))
    register_scorer("highest", ScorerEntry(lambda table, ious, package: HighestScore(table)))
    world, out = place / "world", tmp_path / "out"
    printed = command(
        "run", "--images", world / "whole", "--annotations", world / "val.json", "--out", out,
        "--head", place / "first", "--bank", place / "bank.h5", "--device", "cpu",
        "--baseline", "constant",
        "--protocol", "highest",
    )  # fmt: skip
    assert "Third name" in printed
    assert "highest score" in printed
    detections = out / "baseline_constant.json.gz"
    annotations = read_annotations(world / "val.json")
    best = [entry for entry in results_in(detections) if entry["score"] == 1]
    assert {entry["category_id"] for entry in best} == {annotations.vocabulary.ids[2]}
    assert len(best) == len(annotations.box)
    metrics = read_json(out / "metrics.json")
    highest = max(entry["score"] for entry in results_in(out / "detections.json.gz"))
    for figures, expected in ((metrics, highest), (metrics["baselines"]["constant"], 1)):
        for iou in ("bbox", "segm"):
            assert figures["scores"]["highest"][iou]["metrics"] == {"highest": expected}
    share = np.mean(annotations.class_index == 2)
    assert metrics["baselines"]["constant"]["naming"]["top1"]["all"] == pytest.approx(share)

    scored = tmp_path / "scored.json"
    words = ("--annotations", world / "val.json", "--detections", out / "detections.json.gz")
    command("score", *words, "--protocol", "highest", "--json", scored)
    assert read_json(scored)["bbox"] == {"highest": highest}
    assert read_json(scored)["scorer"] == "tests"
    words = (detections, out, "--annotations", world / "val.json", "--protocol", "highest")
    printed = command("compare", *words, "--json", scored)
    assert "without intervals: they are known of LVIS's and COCO's rules alone" in printed
    rows = read_json(scored)["rows"]
    assert rows["baseline_constant"]["bbox"]["metrics"] == {"highest": 1}
    assert rows["out"]["bbox"]["difference_from_first"]["highest"]["value"] == highest - 1


@pytest.mark.usefixtures("tables")
def test_a_store_is_scored_by_a_scorer_from_outside(place: Path, tmp_path: Path) -> None:
    register_scorer("highest", ScorerEntry(lambda table, ious, package: HighestScore(table)))
    world, store = place / "world", tmp_path / "store"
    data = ("--images", world / "whole", "--annotations", world / "val.json")
    options = ("--bank", place / "bank.h5", "--out", store, "--device", "cpu")
    extracted = CliRunner().invoke(app, ["extract", "run", *map(str, data + options)])
    assert extracted.exit_code == 0, extracted.output
    words = ("cached", "--cache", store, "--head", place / "first", "--device", "cpu")
    printed = command(
        *words,
        "--annotations",
        world / "val.json",
        "--protocol",
        "highest",
        "--out",
        tmp_path / "out",
    )
    assert "highest score" in printed
    highest = max(entry["score"] for entry in results_in(tmp_path / "out" / "detections.json.gz"))
    scores = read_json(tmp_path / "out" / "metrics.json")["scores"]["highest"]["bbox"]
    assert scores == {"protocol": "highest score", "metrics": {"highest": highest}}
    # COCO's scorer goes the same way.
    command(
        *words,
        "--annotations",
        world / "val.json",
        "--protocol",
        "coco",
        "--out",
        tmp_path / "coco",
    )
    scores = read_json(tmp_path / "coco" / "metrics.json")["scores"]["coco"]["bbox"]
    assert scores["protocol"].startswith("COCO")
    assert "AR100" in scores["metrics"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--scorer", "best"], "scorer: input should be 'fast' or 'reference', got 'best'"),
        (["--protocol", "lvis-fixed"], "expected annotations with protocol lvis-fixed"),
    ],
)
def test_mistakes(words: list[str], message: str, regionspot: Any, place: Path) -> None:
    head, store = str(place / "first"), str(place)
    done = regionspot("evaluate", "cached", "--cache", store, "--head", head, *words)
    assert done.returncode == 2
    assert message in done.stderr
