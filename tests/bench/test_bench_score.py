"""`regionspot bench score` on small files. Nothing here looks at how fast it was."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lvis import LVIS, LVISResults

from regionspot_bench.child import run_children
from regionspot_bench.measure import Times
from regionspot_bench.score import config as config_module
from regionspot_bench.score import contents as contents_module
from regionspot_bench.score import run as story
from regionspot_bench.score.config import Sizes
from regionspot_bench.score.contents import Contents
from regionspot_bench.score.report import FAST, MemoryFigures, ScoreBenchReport
from regionspot_bench.score.report import LVIS as OTHER
from regionspot_core.errors import WorkerError
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


def test_the_command(
    regionspot: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config_module, "QUICK", TINY)
    (tmp_path / "work").mkdir()
    done = regionspot(
        "bench", "score", "--quick", "--dir", "work", "--json", "score.json", cwd=tmp_path
    )
    values = json.loads((tmp_path / "score.json").read_text())
    assert done.returncode == (0 if values["all_met"] else 1)
    assert max(map(len, done.stdout.splitlines())) <= 80
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


def test_all_figures_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest difference of boxes, masks and both protocols is the one that is told."""
    scored: list[tuple[str, str]] = []
    honest = LvisScorer.score_all

    def watched(self: LvisScorer, found: Path, *, ious: Any, protocols: Any) -> Any:
        scores = honest(self, found, ious=ious, protocols=protocols)
        scored.extend((iou, protocol) for protocol in scores for iou in scores[protocol])
        if self._scorer == "fast":
            scores["lvis-fixed"]["segm"].values["APc"] = 0.75
        return scores

    monkeypatch.setattr(LvisScorer, "score_all", watched)
    assert story._compare(tmp_path / "masks", TINY) > 0.1
    assert set(scored) == {(i, p) for i in ("bbox", "segm") for p in ("lvis", "lvis-fixed")}


def test_generated_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lvis package reads them; images beyond the variants are these again, by other ids."""
    monkeypatch.setattr(contents_module, "VARIANTS", 2)
    contents = Contents(images=5, detections=30, classes=40, masks=True)
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
