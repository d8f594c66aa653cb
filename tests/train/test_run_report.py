"""A run's page: whole, of its own, and true, however the run ended."""

import json
import math
import re
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regionspot_core.errors import CheckpointError
from regionspot_core.support.fault_points import at_points
from regionspot_core.testing import make_cache
from regionspot_train.config import TrainConfig, ValidationConfig, recipe_or_file
from regionspot_train.learning.validation import Accuracy, Validator
from regionspot_train.record import curves as run_curves
from regionspot_train.record.meter import LogLine
from regionspot_train.record.report import Ending, write_report
from regionspot_train.run import run_training

SMALL = ["steps=12", "batch_images=4", "log_every=2", "head.ffn_width=32", "head.heads=2",
         "optimiser.lr=0.003", "checkpoint_every=5", "validation.every=4"]  # fmt: skip


class Page(HTMLParser):
    """What a page says and refers to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.text = " ".join(" ".join(self.words).split()).replace("\u200b", "")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("caches") / "<b>store"
    make_cache(path, [2, 3, 1, 2, 0, 4])
    return path


def fit(store: Path, out: Path, *overrides: str, val: Path | None = None, **named: Any) -> Path:
    config = TrainConfig.load(recipe_or_file("demo"), [*SMALL, *overrides])
    run_training(config, store=store, out=out, validate_on=val, **named)
    return out


@pytest.fixture(scope="module")
def finished(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit(store, tmp_path_factory.mktemp("runs") / "R&D <1>", val=store)


@pytest.fixture(scope="module")
def page(finished: Path) -> Page:
    return Page(finished / "report.html")


def test_it_says_how_the_run_went(finished: Path, page: Page) -> None:
    assert "R&D <1> finished All 12 steps taken." in page.text
    lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert f"loss {lines[-1]['loss']:.3g} of the last steps" in page.text
    validations = [json.loads(n) for n in (finished / "validation.jsonl").read_text().splitlines()]
    best = max(validations, key=lambda each: each["top1"])
    assert f"top-1 {best['top1']:.1%} best: step {best['step']}" in page.text
    titles = ["Training loss", "Validation accuracy", "Learning rate", "Gradient norm",
              "Regions a second", "Share of time waiting for data"]  # fmt: skip
    assert [named["aria-label"] for tag, named in page.tags if tag == "svg"] == titles


def test_it_says_what_was_asked_and_of_what(finished: Path, page: Page, store: Path) -> None:
    run = json.loads((finished / "run.json").read_text())
    assert "optimiser.lr 0.003 default 2.5e-05" in page.text
    assert "optimiser.clip_norm 1.0 " in page.text
    assert f"parameters {run['head']['parameters']:,} (0.0 M)" in page.text
    assert f"store {store} images 5 regions 12 classes 6" in page.text
    assert f"torch {run['versions']['torch']}" in page.text
    assert "name generated weights sha256 0000000000000000…" in page.text


def test_it_loads_nothing_and_its_names_are_its_own(page: Page) -> None:
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "link", "img", "image", "iframe", "object", "embed", "b-store"}
    names = [named["id"] for _, named in page.tags if "id" in named]
    assert len(names) == len(set(names)) > 0
    referred = [
        value
        for _, named in page.tags
        for key, value in named.items()
        if key in ("src", "href", "xlink:href", "action")
    ]
    referred += re.findall(r"url\(([^)]*)\)", page.source)
    assert referred
    assert {str(each).removeprefix("#") for each in referred} <= set(names)
    assert "@import" not in page.source
    assert "#0102" not in page.source  # every colour is one of the page's


def test_a_finished_run_keeps_its_page(store: Path, finished: Path) -> None:
    before = (finished / "report.html").read_bytes()
    fit(store, finished, val=store, resume=True)
    assert (finished / "report.html").read_bytes() == before
    (finished / "report.html").unlink()
    fit(store, finished, val=store, resume=True)
    assert "All 12 steps taken" in Page(finished / "report.html").text


def at_step(step: int, act: Callable[[], None]) -> AbstractContextManager[None]:
    return at_points(lambda point, at: act() if (point, at) == ("train step", step) else None)


def test_a_run_that_is_asked_to_stop_and_goes_on(store: Path, tmp_path: Path) -> None:
    with at_step(6, lambda: signal.raise_signal(signal.SIGTERM)):
        out = fit(store, tmp_path / "run")
    said = "stopped Asked to stop after step 7 of 12. The same command with --resume goes on."
    assert said in Page(out / "report.html").text
    fit(store, out, resume=True)
    assert "finished All 12 steps taken." in Page(out / "report.html").text


def test_a_run_that_an_error_ends(store: Path, tmp_path: Path) -> None:
    def fail() -> None:
        raise CheckpointError("loss <nan> is not finite")

    with at_step(3, fail), pytest.raises(CheckpointError, match="not finite"):
        fit(store, tmp_path / "run")
    said = "failed An error ended it after step 3 of 12: loss <nan> is not finite"
    assert said in Page(tmp_path / "run" / "report.html").text


def test_a_run_that_lost_patience(store: Path, tmp_path: Path) -> None:
    overrides = ["optimiser.lr=1e-30", "validation.patience=1", "steps=20"]
    out = fit(store, tmp_path / "run", *overrides, val=store)
    assert "ended early Ended after step 8 of 20" in Page(out / "report.html").text


def test_average_precision_has_a_picture_where_it_was_measured(
    finished: Path, tmp_path: Path
) -> None:
    (tmp_path / "run.json").write_bytes((finished / "run.json").read_bytes())
    validator = Validator(ValidationConfig())
    validator.history = [Accuracy(4, 0.5, 0.5, ap=0.25), Accuracy(8, 0.4, 0.5, ap=0.5, ap_r=0.125)]
    write_report(tmp_path, Ending(8, True, 1.0), [log_line(8, 1.0)], validator)
    page = Page(tmp_path / "report.html")
    assert "Validation AP, annotated boxes all rare " in page.text
    assert "AP 25.0% best: step 4" in page.text  # the best by top-1


def test_a_head_that_a_sweep_gave_up(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_bytes((finished / "run.json").read_bytes())
    write_report(tmp_path, Ending(5, finished=False, seconds=1.0, resumable=False), [])
    assert "given up Given up after step 5 of 12." in Page(tmp_path / "report.html").text


def log_line(step: int, loss: float) -> LogLine:
    return LogLine(step, loss, 1e-3, math.inf if step == 3 else 2.0, 100.0, 0.0)


@pytest.mark.parametrize("lines", [0, 1, 30_000])
def test_a_page_of_any_length(finished: Path, tmp_path: Path, lines: int) -> None:
    (tmp_path / "run.json").write_bytes((finished / "run.json").read_bytes())
    rng = np.random.default_rng(0)
    log = [log_line(step, loss) for step, loss in enumerate(rng.random(lines), start=1)]
    write_report(tmp_path, Ending(lines, finished=False, seconds=1.0), log)
    assert (tmp_path / "report.html").stat().st_size < 400_000
    assert sum(tag == "svg" for tag, _ in Page(tmp_path / "report.html").tags) == 5 * bool(lines)


def test_points_of_a_long_curve_are_means() -> None:
    values = np.random.default_rng(0).random(2 * run_curves.POINTS + 1)
    values[5] = np.inf
    found = run_curves._thinned(values.tolist())
    expected = [values[at : at + 3].mean() for at in range(0, len(values), 3)]
    expected[1] = np.nan  # of 3, 4 and 5, which is infinite
    np.testing.assert_allclose(found, expected)
    assert run_curves._thinned([1.0, 2.0]).tolist() == [1.0, 2.0]


def test_the_running_mean_is_of_what_is_finite() -> None:
    values = np.array([1.0, 3.0, np.nan, 8.0, 2.0])
    assert run_curves._running_mean(values).tolist() == [2.0, 2.0, 5.5, 5.0, 5.0]
