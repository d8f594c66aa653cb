"""`regionspot bench score` on small files. Nothing here looks at how fast it was."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lvis import LVIS, LVISResults

from regionspot_bench.benchmark import run_benchmark
from regionspot_bench.child import run_children
from regionspot_bench.measure import Times
from regionspot_bench.score import run as story
from regionspot_bench.score.config import ScoreBenchConfig, Sizes
from regionspot_bench.score.contents import Contents
from regionspot_bench.score.report import FAST, MemoryFigures, ScoreBenchReport
from regionspot_bench.score.report import LVIS as OTHER
from regionspot_core.errors import WorkerError
from regionspot_core.support.tables import show
from regionspot_evaluate.scoring.scorer import LvisScorer

TINY = Sizes(
    images=4, mask_images=3, memory_images=6, detections=40, classes=30, repeats=2
)  # fmt: skip
MEMORY = MemoryFigures(
    images=6,
    detections=240,
    file_bytes=1,
    imported_bytes=2**26,
    peak_bytes=2**27,
    seconds=1.0,
)
REPORT = ScoreBenchReport(
    sizes=TINY,
    times=Times({FAST: [0.5], OTHER: [12.0]}),
    difference=1e-9,
    memory=MEMORY,
    quick=True,
)


class TinyConfig(ScoreBenchConfig):
    """Settings under which less is measured than `bench score --quick` does, in seconds."""

    @property
    def sizes(self) -> Sizes:
        return TINY


def test_a_whole_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "work").mkdir()
    config = TinyConfig(quick=True, dir=tmp_path / "work", json_file=tmp_path / "score.json")
    report = run_benchmark(config, story.measure)
    show(*report.tables())
    printed = capsys.readouterr().out
    values = json.loads((tmp_path / "score.json").read_text())
    assert ("NOT met" in printed) is not values["all_met"]
    assert max(map(len, printed.splitlines())) <= 80
    assert list((tmp_path / "work").iterdir()) == []
    assert values["speedup_vs_lvis"] == pytest.approx(
        values["lvis_seconds"] / values["fast_seconds"]
    )
    assert values["max_metric_difference"] <= 1e-6
    assert values["quick"] is True
    assert (values["images"], values["classes"]) == (4, 30)
    assert (values["memory_images"], values["memory_detections"]) == (6, 240)
    assert 0 < values["memory_imported_bytes"] <= values["memory_peak_bytes"]


def test_what_is_required() -> None:
    assert REPORT.speedup == 24
    assert REPORT.all_met
    assert not replace(REPORT, times=Times({FAST: [1.0], OTHER: [19.9]})).all_met
    assert not replace(REPORT, difference=1.1e-6).all_met
    assert not replace(REPORT, memory=replace(MEMORY, peak_bytes=2**30 + 1)).all_met


@pytest.mark.parametrize("protocol", ["lvis", "lvis-fixed"])
@pytest.mark.parametrize("iou", ["bbox", "segm"])
def test_all_figures_are_compared(protocol: str, iou: str, tmp_path: Path) -> None:
    """The largest difference of boxes, masks and both protocols is the one that is told."""

    class Wrong(LvisScorer):
        def score_all(self, *given: Any, **named: Any) -> Any:
            scores = super().score_all(*given, **named)
            scores[protocol][iou].values["APc"] = 0.75
            return scores

    assert story.compare(tmp_path / "masks", TINY, scorer=Wrong) > 0.1


def test_generated_files(tmp_path: Path) -> None:
    """The lvis package reads them; images beyond the variants are these again, by other ids."""
    contents = Contents(images=5, detections=30, classes=40, masks=True, variants=2)
    truth, found = contents.write(tmp_path / "set")
    annotated = LVIS(str(truth))
    results = LVISResults(annotated, str(found))
    assert sorted(annotated.imgs) == [1, 2, 3, 4, 5]
    assert len(annotated.anns) == len(annotated.dataset["annotations"]) == 5 * 12
    assert [len(results.img_ann_map[image]) for image in annotated.imgs] == [30] * 5

    def boxes(image: int) -> list[list[float]]:
        return [entry["bbox"] for entry in results.img_ann_map[image]]

    assert boxes(1) == boxes(3) == boxes(5) != boxes(2) == boxes(4)
    for iou in ("bbox", "segm"):
        assert 0.05 < (LvisScorer(truth).score(found, iou=iou)["AP"] or 0) < 0.95


def test_a_child_that_fails_is_not_passed_over(tmp_path: Path) -> None:
    absent = (tmp_path / "truth.json", tmp_path / "results.json")
    with pytest.raises(WorkerError, match="process of its own ended with 1"):
        run_children("regionspot_bench.score.memory_child", [absent])
