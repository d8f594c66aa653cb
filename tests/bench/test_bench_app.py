"""`bench app` on the tiny models. Nothing here looks at how fast it was."""

from __future__ import annotations

from pathlib import Path

from regionspot_bench.app.config import AppBenchConfig
from regionspot_bench.app.report import AppBenchReport, ModelFigures
from regionspot_bench.app.run import measure


def test_the_tiny_models_are_asked_and_answer(tmp_path: Path) -> None:
    report = measure(AppBenchConfig(quick=True), tmp_path)
    values = report.to_json()
    assert list(report.figures) == ["prompt_ms_tiny", "encode_ms_tiny", "requests_per_second_tiny"]
    assert all(isinstance(each, float) and each > 0 for each in report.figures.values())
    assert values["quick"] is True


def test_a_slow_answer_misses_its_bound() -> None:
    fast = ModelFigures(encode_ms=9, prompt_ms=39, requests_per_second=20, most_ms=40)
    slow = ModelFigures(encode_ms=9, prompt_ms=301, requests_per_second=20, most_ms=300)
    assert AppBenchReport(figures_of={"tiny": fast}, quick=True).all_met
    report = AppBenchReport(figures_of={"tiny": fast, "base": slow}, quick=False)
    assert [each.met for each in report.requirements] == [True, False]
    assert report.figures["prompt_ms_base"] == 301
