"""TensorBoard and Weights & Biases are told what the log says, and go on where a run does."""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from stepping import killed_at
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from regionspot_core.errors import ConfigError
from regionspot_core.testing import make_cache
from regionspot_train.config import TrainConfig, recipe_or_file
from regionspot_train.run import run_training

SMALL = ["steps=12", "batch_images=4", "log_every=2", "head.ffn_width=32", "head.heads=2",
         "optimiser.lr=0.003", "checkpoint_every=5", "validation.every=4"]  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "store"
    make_cache(path, [2, 3, 1, 2, 0, 4])
    return path


def fit(store: Path, out: Path, *overrides: str) -> None:
    config = TrainConfig.load(recipe_or_file("demo"), [*SMALL, *overrides])
    run_training(config, store=store, out=out, validate_on=store, resume=True, pictured=False)


def fit_until(step: int, store: Path, out: Path, *overrides: str) -> None:
    with killed_at("train step", step):
        fit(store, out, *overrides)


def logged(out: Path) -> dict[str, list[tuple[int, float]]]:
    """What the files of a run say, by the trackers' names."""
    found: dict[str, list[tuple[int, float]]] = {}
    for line in map(json.loads, (out / "metrics.jsonl").read_text().splitlines()):
        for name in ("loss", "lr", "gradient_norm", "regions_per_second", "waiting_share"):
            found.setdefault(f"train/{name}", []).append((line["step"], line[name]))
    for line in map(json.loads, (out / "validation.jsonl").read_text().splitlines()):
        for name in ("top1", "class_mean"):
            found.setdefault(f"validation/{name}", []).append((line["step"], line[name]))
    return found


def test_tensorboard_has_the_log_and_goes_on(store: Path, tmp_path: Path) -> None:
    fit_until(9, store, tmp_path, "log.tensorboard=true")  # steps 6 and 8 are told, and lost
    fit(store, tmp_path, "log.tensorboard=true")
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    expected = logged(tmp_path)
    assert set(events.Tags()["scalars"]) == set(expected)
    for name, points in expected.items():
        found = [(event.step, event.value) for event in events.Scalars(name)]
        assert [step for step, _ in found] == [step for step, _ in points]
        assert [value for _, value in found] == pytest.approx([value for _, value in points])


class FakeRun:
    def __init__(self, known: str | None) -> None:
        self.id = known or "abc123"
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.exit_code: int | None = None

    def log(self, figures: dict[str, float], *, step: int) -> None:
        self.logged.append((step, figures))

    def finish(self, *, exit_code: int) -> None:
        self.exit_code = exit_code


class FakeWandB(ModuleType):
    class Error(Exception):
        """As the package's own."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.runs: list[FakeRun] = []
        self.asked: list[dict[str, Any]] = []
        self.refuses = False

    def init(self, **asked: Any) -> FakeRun:
        if self.refuses:
            raise self.Error("api_key not configured")
        self.asked.append(asked)
        self.runs.append(FakeRun(asked["id"]))
        return self.runs[-1]


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> FakeWandB:
    module = FakeWandB()
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


def test_wandb_has_the_log_and_keeps_the_run(store: Path, tmp_path: Path, wandb: FakeWandB) -> None:
    fit_until(9, store, tmp_path, "log.wandb=heads")
    fit(store, tmp_path, "log.wandb=heads")
    fit(store, tmp_path, "log.wandb=heads")  # finished: nobody is told
    first, second = wandb.asked
    assert (first["project"], first["id"], first["resume"]) == ("heads", None, "allow")
    assert (second["project"], second["id"], second["resume"]) == ("heads", "abc123", "allow")
    assert first["config"]["optimiser"]["lr"] == 0.003
    assert [run.exit_code for run in wandb.runs] == [1, 0]
    told: dict[str, list[tuple[int, float]]] = {}
    for step, figures in [n for n in wandb.runs[0].logged if n[0] <= 5] + wandb.runs[1].logged:
        for name, value in figures.items():
            told.setdefault(name, []).append((step, value))
    assert told == logged(tmp_path)


def test_wandb_that_does_not_begin_is_said(store: Path, tmp_path: Path, wandb: FakeWandB) -> None:
    wandb.refuses = True
    with pytest.raises(ConfigError, match=r"does not begin \(api_key not configured\); log in by"):
        fit(store, tmp_path, "log.wandb=heads")
    wandb.refuses = False
    fit(store, tmp_path, "log.wandb=heads")
    assert (tmp_path / "head.json").exists()


@pytest.mark.parametrize(
    ("package", "setting"), [("tensorboard", "log.tensorboard=true"), ("wandb", "log.wandb=heads")]
)
def test_a_package_that_is_not_there_is_said_before_anything_is_written(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, setting: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    said = rf"{setting}: the package {package} is not installed; pip install 'regionspot\[{package}"
    with pytest.raises(ConfigError, match=said):
        fit(store, tmp_path / "run", setting)
    assert not (tmp_path / "run").exists()
