"""A run's record says which code it was started from, and is resumed whatever it says."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from regionspot_core.testing import make_cache
from regionspot_train.config import TrainConfig, recipe_or_file
from regionspot_train.record.git_state import git_state
from regionspot_train.run import run_training


@pytest.fixture(autouse=True)
def no_settings_of_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=Someone", "-c", "user.email=someone@example.org"]
    done = subprocess.run(
        ["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    git(folder, "init")
    (folder / "file").write_text("one")
    git(folder, "add", "file")
    git(folder, "commit", "-m", "first")
    return folder


def test_a_repository_says_its_commit_and_whether_files_differ(repository: Path) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    (repository / "untracked").write_text("of a run, say")
    assert git_state(repository) == {"commit": commit, "uncommitted_changes": False}
    (repository / "file").write_text("two")
    (repository / "below").mkdir()
    assert git_state(repository / "below") == {"commit": commit, "uncommitted_changes": True}


def test_nothing_is_said_without_repository_commit_or_git(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert git_state(tmp_path) is None
    assert git_state(tmp_path / "missing") is None
    empty = tmp_path / "empty"
    empty.mkdir()
    git(empty, "init")
    assert git_state(empty) is None
    monkeypatch.setenv("PATH", str(empty))
    assert git_state(repository) is None


def test_a_run_records_it_and_goes_on_from_another_commit(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_cache(tmp_path / "store", [2, 0, 3])
    config = TrainConfig.load(recipe_or_file("demo"), ["steps=4", "head.heads=2"])
    monkeypatch.chdir(repository)
    run_training(config, store=tmp_path / "store", out=tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["git"] == git_state(repository)
    assert record["caches"] == [
        {"store": str(tmp_path / "store"), "images": 2, "regions": 5, "classes": 6}
    ]
    assert record["head"]["config"]["image_width"] == 16
    assert {"regionspot", "torch", "python"} <= record["versions"].keys()
    git(repository, "commit", "--allow-empty", "-m", "second")
    report = run_training(config, store=tmp_path / "store", out=tmp_path / "run", resume=True)
    assert report.resumed == 4
    assert json.loads((tmp_path / "run" / "run.json").read_text()) == record
