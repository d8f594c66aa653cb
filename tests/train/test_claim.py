"""A run's folder is one process's at a time, and no folder of anybody else's is written into."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from regionspot_core.errors import CheckpointError, InputError
from regionspot_core.support.files import require_empty_folder
from regionspot_core.support.progress import say_once
from regionspot_core.testing import make_cache
from regionspot_train.cli import app
from regionspot_train.config import TrainConfig, recipe_or_file
from regionspot_train.record.claim import LOCK, claimed
from regionspot_train.run import run_training
from regionspot_train.sweep.run import run_sweep
from regionspot_train.sweep.space import Space

SETTINGS = ["steps=4", "batch_images=3", "head.ffn_width=32", "head.heads=2", "validation.every=2"]
SPACE = Space.parse({"space": {"seed": {"low": 0, "high": 9}}}, source="test")
BOUND = 300
"""Seconds that a process of a test may take on a busy machine."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "store"
    make_cache(path, [2, 3, 1, 2])
    return path


def fit(store: Path, out: Path, **options: Any) -> None:
    config = TrainConfig.load(recipe_or_file("demo"), SETTINGS)
    run_training(config, store=store, out=out, pictured=False, **options)


def sweep(store: Path, out: Path, **options: Any) -> None:
    config = TrainConfig.load(recipe_or_file("demo"), SETTINGS)
    asked: dict[str, Any] = {"validate_on": store, "trials": 1, "pictured": False} | options
    run_sweep(config, SPACE, store=store, out=out, **asked)


def below(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("write", [fit, sweep])
@pytest.mark.parametrize("content", ["store", "notes.txt", ".hidden", "folder/file", "x.partial"])
def test_a_folder_with_other_files_is_refused_and_left_alone(
    store: Path, tmp_path: Path, write: Any, content: str, resume: bool
) -> None:
    out = store if content == "store" else tmp_path / "out"
    if content != "store":
        (out / content).parent.mkdir(parents=True)
        (out / content).write_text("mine")
    before = below(out)
    with pytest.raises(InputError, match="expected a new or empty folder") as caught:
        write(store, out, resume=resume)
    assert ("with --resume, a run's" in str(caught.value)) == resume
    assert below(out) == before


def test_the_root_of_the_file_system_is_no_place(store: Path) -> None:
    before = sorted(Path("/").iterdir())
    with pytest.raises(InputError, match="--out /: expected a folder of its own, got the root"):
        fit(store, Path("/"), resume=True)
    assert sorted(Path("/").iterdir()) == before


def test_the_empty_folder_one_is_in(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, write in (("fit", fit), ("sweep", sweep)):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        write(store, Path())
        write(store, Path(), resume=True)
        assert (tmp_path / name / "run.json").exists()
        assert not (tmp_path / name / LOCK).exists()


def test_a_sweep_is_no_run_and_a_run_no_sweep(store: Path, tmp_path: Path) -> None:
    fit(store, tmp_path / "run", validate_on=store)
    sweep(store, tmp_path / "sweep")
    before = below(tmp_path)
    for resume in (False, True):
        with pytest.raises(CheckpointError, match="expected a folder for a run, found a sweep"):
            fit(store, tmp_path / "sweep", validate_on=store, resume=resume)
        with pytest.raises(CheckpointError, match="expected a folder for a sweep, found a run"):
            sweep(store, tmp_path / "run", resume=resume)
    assert below(tmp_path) == before


def test_the_record_of_something_else(store: Path, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"configuration": {}}))  # an evaluation's
    for write in (fit, sweep):
        with pytest.raises(CheckpointError, match=r"its run\.json is not that of a training run"):
            write(store, tmp_path, resume=True)


def test_what_a_kill_left_before_the_record_was_whole(store: Path, tmp_path: Path) -> None:
    """It is no run yet, and no reason to refuse the folder."""
    for name in (LOCK, "run.json.0a1b2c-1-0123abcd.partial"):
        (tmp_path / name).write_text("{")
    fit(store, tmp_path)
    assert json.loads((tmp_path / "run.json").read_text())["config"]["steps"] == 4
    assert not (tmp_path / LOCK).exists()


def test_a_run_that_cannot_begin_leaves_no_folder(store: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="expected a trained head"):
        fit(store, tmp_path / "run", start_from=tmp_path / "none")
    assert list(tmp_path.iterdir()) == []


def test_a_new_head_goes_into_a_new_folder(tmp_path: Path) -> None:
    (tmp_path / "head.safetensors").touch()  # of an import that was killed
    require_empty_folder(tmp_path, but=("head.safetensors",))
    (tmp_path / "mine").touch()
    with pytest.raises(InputError, match=r"found files in it \(mine\)"):
        require_empty_folder(tmp_path, but=("head.safetensors",))


def test_a_dry_run_needs_no_folder(store: Path) -> None:
    words = ["fit", "--cache", str(store), "--config", "demo"]
    done = CliRunner().invoke(app, [*words, "--dry-run"])
    assert done.exit_code == 0, done.output
    assert "dry run, nothing is written" in " ".join(done.output.split())
    refused = CliRunner().invoke(app, words)
    assert isinstance(refused.exception, InputError)
    assert "--out is missing" in str(refused.exception)


def test_who_has_the_folder_is_named(tmp_path: Path) -> None:
    with claimed(tmp_path / "run", resume=False):
        for resume, words in ((False, "has it, and"), (True, "still has it after 0 s, and")):
            with (
                pytest.raises(CheckpointError, match=f"process {os.getpid()} on .* {words} two ca"),
                claimed(tmp_path / "run", resume=resume, patience=0.01 if resume else None),
            ):
                pytest.fail("two have it")
    assert not (tmp_path / "run").exists()  # nothing came of it


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks(
    store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    code: int,
) -> None:
    def flock(file: int, operation: int) -> None:
        raise OSError(code, os.strerror(code))

    say_once.cache_clear()
    monkeypatch.setattr(fcntl, "flock", flock)
    fit(store, tmp_path / "run")
    assert "this file system has no locks" in capsys.readouterr().err
    assert (tmp_path / "run" / "head.safetensors").exists()
    assert not (tmp_path / "run" / LOCK).exists()


HOLDER = """
import sys
from pathlib import Path
from regionspot_train.record.claim import claimed
with claimed(Path(sys.argv[1]), resume=True):
    print("has it", flush=True)
    sys.stdin.readline()
"""
"""Holds a run's folder until a line comes."""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "run")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "has it\n"
    yield process
    process.kill()
    process.communicate(timeout=BOUND)


def test_a_dead_owner_holds_nothing(
    store: Path, tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    out = tmp_path / "run"
    with pytest.raises(CheckpointError, match=f"process {holder.pid} on .* two cannot write one"):
        fit(store, out)
    holder.send_signal(signal.SIGKILL)
    holder.wait(timeout=BOUND)
    assert (out / LOCK).exists()
    fit(store, out, resume=True)
    assert sorted(path.name for path in out.iterdir() if path.name == LOCK) == []


PROGRAM = """
import sys, time
from pathlib import Path
import regionspot.cli
from regionspot_core.support.fault_points import at_points
from regionspot_train.record import claim
claim.PATIENCE_SECONDS = float(sys.argv.pop(1))
gate = Path(sys.argv.pop(1))
def wait(point, number):
    if point in ("train step", "sweep step"):
        gate.with_name("gate.reached").touch()
        for _ in range(30_000):
            if gate.exists():
                return
            time.sleep(0.01)
        sys.exit("no gate")
with at_points(wait):
    regionspot.cli.main()
"""
"""The command line, whose heads learn once a file is there."""


@pytest.mark.slow
@pytest.mark.parametrize(("verb", "patience"), [("fit", BOUND), ("sweep", 0.1)])
def test_two_processes_resume_one_folder(
    store: Path, tmp_path: Path, verb: str, patience: float
) -> None:
    """The second waits for the first, and finds the run finished; or it is refused."""
    out, gate, space = tmp_path / "out", tmp_path / "gate", tmp_path / "space.toml"
    space.write_text("[space]\nseed = { low = 0, high = 9 }\n")
    more = ["--space", str(space), "--trials", "2"] if verb == "sweep" else []
    options = [word for each in SETTINGS for word in ("--set", each)]
    command = [
        sys.executable, "-c", PROGRAM, str(patience), str(gate), "train", verb, "--cache",
        str(store), "--val", str(store), "--out", str(out), "--config", "demo", "--resume", *more,
        *options,
    ]  # fmt: skip
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    first = subprocess.Popen(command, **pipes)
    wait_until(gate.with_name("gate.reached"), first)
    second = subprocess.Popen(command, **pipes)
    try:
        assert second.stderr is not None
        words = next((line for line in second.stderr if "waiting" in line), "nothing")
        assert f"process {first.pid} on" in words, words
        assert f"waiting up to {patience:.0f} s" in words
        if verb == "sweep":
            _, refused = second.communicate(timeout=BOUND)
            assert second.returncode == 2
            assert "two cannot write one run" in " ".join(refused.split())
            assert "Traceback" not in refused
        gate.touch()
        for process in (first, second) if verb == "fit" else (first,):
            printed, errors = process.communicate(timeout=BOUND)
            assert process.returncode == 0, errors
            assert "Traceback" not in errors
            assert ("4 in" if verb == "fit" else "2: 2 finished") in printed
    finally:
        for process in (first, second):
            process.kill()
            process.communicate(timeout=BOUND)
    assert not (out / LOCK).exists()
    head = out if verb == "fit" else out / "trials" / "0001"
    assert (head / "head.safetensors").exists()


def wait_until(path: Path, process: subprocess.Popen[str]) -> None:
    """Wait for a file, or for the process that is to make it to end."""
    for _ in range(BOUND * 10):
        if path.exists():
            return
        if process.poll() is not None:
            break
        time.sleep(0.1)
    pytest.fail(f"no {path.name}: {process.poll()}")
