"""A run that was killed, stopped or damaged goes on to the bits of one that never was."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from regionspot_core.errors import CheckpointError, FingerprintError
from regionspot_core.testing import make_cache
from regionspot_train.config import TrainConfig, recipe_or_file
from regionspot_train.learner import Learner
from regionspot_train.run import TrainReport, run_training

STEPS = 60
SETTINGS = [
    f"steps={STEPS}", "batch_images=4", "log_every=7", "head.ffn_width=32", "head.heads=2",
    "head.dropout=0.2", "optimiser.lr=0.003", "optimiser.warmup_steps=5", "checkpoint_every=10",
    "keep_checkpoints=2",
]  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "store"
    make_cache(path, [2, 3, 1, 2, 0, 4, 1, 2, 2])
    return path


def settings(*overrides: str) -> TrainConfig:
    return TrainConfig.load(recipe_or_file("demo"), [*SETTINGS, *overrides])


def fit(store: Path, out: Path, *overrides: str, resume: bool = False) -> TrainReport:
    return run_training(settings(*overrides), store=store, out=out, resume=resume)


def losses(out: Path) -> list[tuple[int, float, float, float]]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [(n["step"], n["loss"], n["gradient_norm"], n["lr"]) for n in lines]


def weights(out: Path) -> bytes:
    return (out / "head.safetensors").read_bytes()


@pytest.fixture(scope="module", params=["full", "windowed"])
def shuffle(request: pytest.FixtureRequest) -> str:
    return f"reading.shuffle={request.param}"


@pytest.fixture(scope="module")
def whole(store: Path, shuffle: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    assert fit(store, out, shuffle).steps == STEPS
    return out


class Killed(BaseException):
    """What a test ends a run with; nothing in the run catches it."""


def fit_until(step: int, store: Path, out: Path, *overrides: str) -> None:
    """Run, and be killed before the step that would follow ``step`` ones."""
    original = Learner.learn

    def learn(self: Learner, batch: Any) -> Any:
        if self.step == step:
            raise Killed
        return original(self, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learner, "learn", learn)
        with pytest.raises(Killed):
            fit(store, out, *overrides)


@pytest.mark.parametrize("step", [0, 3, 10, 11, 29, 30, STEPS - 1])
def test_a_killed_run_goes_on_to_the_same_bits(
    store: Path, shuffle: str, whole: Path, tmp_path: Path, step: int
) -> None:
    fit_until(step, store, tmp_path / "run", shuffle)
    torch.manual_seed(999)  # whatever state the process is in
    report = fit(store, tmp_path / "run", shuffle, resume=True)
    assert (report.resumed, report.steps) == (step // 10 * 10, STEPS)
    assert weights(tmp_path / "run") == weights(whole)
    assert losses(tmp_path / "run") == losses(whole)


PROGRAM = """
import sys, time
from regionspot_train.learner import Learner
learn = Learner.learn
def slow(self, batch):
    time.sleep(0.02)
    return learn(self, batch)
Learner.learn = slow
import regionspot_cli
regionspot_cli.main()
"""


def command(store: Path, out: Path) -> list[str]:
    options = [word for each in SETTINGS for word in ("--set", each)]
    return [sys.executable, "-c", PROGRAM, "train", "fit", "--cache", str(store), "--out", str(out),
            "--config", "demo", "--resume", *options]  # fmt: skip


def wait_for_lines(out: Path, count: int, process: subprocess.Popen[str]) -> None:
    path = out / "metrics.jsonl"
    while process.poll() is None and not (path.exists() and len(losses(out)) >= count):
        time.sleep(0.005)


@pytest.mark.parametrize("shuffle", ["full"], indirect=True)
def test_kill_9(store: Path, whole: Path, tmp_path: Path) -> None:
    rng, out = random.Random(0), tmp_path / "run"
    for lines in (1, 3, 5):
        process = subprocess.Popen(command(store, out), stderr=subprocess.PIPE, text=True)
        wait_for_lines(out, lines, process)
        time.sleep(rng.uniform(0, 0.1))
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert not (out / "head.json").exists()
    fit(store, out, resume=True)
    assert weights(out) == weights(whole)
    assert losses(out) == losses(whole)


@pytest.mark.parametrize("shuffle", ["full"], indirect=True)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_asked_to_stop(
    store: Path, whole: Path, tmp_path: Path, number: signal.Signals
) -> None:
    out = tmp_path / "run"
    process = subprocess.Popen(
        command(store, out), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_for_lines(out, 2, process)
    process.send_signal(number)
    printed, _ = process.communicate()
    assert process.returncode == 128 + number
    assert "with --resume goes on" in printed
    step = int(max(path.name for path in (out / "checkpoints").iterdir()).split("_")[1])
    assert f"stopped after {step} of {STEPS} steps" in " ".join(printed.split())
    assert step >= 14
    report = fit(store, out, resume=True)
    assert report.resumed == step
    assert weights(out) == weights(whole)
    assert losses(out) == losses(whole)


@pytest.mark.parametrize("shuffle", ["full"], indirect=True)
def test_a_run_that_is_older_than_a_setting_goes_on(
    store: Path, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    fit_until(25, store, out)
    record = json.loads((out / "run.json").read_text())
    del record["config"]["pieces"], record["config"]["loss"]["federated"]
    (out / "run.json").write_text(json.dumps(record))
    assert fit(store, out, resume=True).resumed == 20
    assert weights(out) == weights(whole)


@pytest.mark.parametrize("shuffle", ["full"], indirect=True)
def test_the_last_checkpoints_stay(whole: Path) -> None:
    names = sorted(path.name for path in (whole / "checkpoints").iterdir())
    assert names == ["step_0000040", "step_0000050"]
    files = sorted(path.name for path in (whole / "checkpoints" / names[0]).iterdir())
    assert files == ["head.json", "head.safetensors", "state.pt"]


@pytest.mark.parametrize("shuffle", ["full"], indirect=True)
def test_a_finished_run_is_left_alone(
    store: Path, whole: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in whole.rglob("*") if path.suffix != ".png"
              and path.is_file()}  # fmt: skip
    report = fit(store, whole, resume=True)
    assert (report.resumed, report.steps, report.stopped) == (STEPS, STEPS, None)
    assert "is finished already" in capfd.readouterr().err
    assert {path: path.read_bytes() for path in before} == before


def test_another_run_is_not_resumed(store: Path, tmp_path: Path) -> None:
    fit(store, tmp_path / "run", "steps=12")
    with pytest.raises(CheckpointError, match="go on with it by --resume, or choose another"):
        fit(store, tmp_path / "run", "steps=12")
    with pytest.raises(FingerprintError, match=r"config\.optimiser\.lr: expected 0\.1, found 0"):
        fit(store, tmp_path / "run", "steps=12", "optimiser.lr=0.1", resume=True)
    make_cache(tmp_path / "other", [2, 3, 1, 2], seed=5)
    with pytest.raises(FingerprintError, match=r"data\.datasets\.0\."):
        fit(tmp_path / "other", tmp_path / "run", "steps=12", resume=True)


def test_a_damaged_checkpoint_is_named(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    fit_until(25, store, out)
    state = out / "checkpoints" / "step_0000020" / "state.pt"
    state.write_bytes(state.read_bytes()[:500])
    with pytest.raises(CheckpointError, match="step_0000020: the checkpoint is damaged"):
        fit(store, out, resume=True)
    state.parent.rename(tmp_path / "gone")
    assert fit(store, out, resume=True).resumed == 10


def test_a_line_cut_off_by_a_kill_is_dropped(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    fit_until(23, store, out)
    with (out / "metrics.jsonl").open("a") as file:
        file.write('{"step": 28, "lo')
    fit(store, out, resume=True)
    assert [step for step, *_ in losses(out)] == [7, 14, 21, 28, 35, 42, 49, 56, 60]
