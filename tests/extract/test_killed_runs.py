"""Runs killed at random events, and two at once: the bytes of one run, and nothing done twice."""

import random
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import forked
import killable
import pytest

from regionspot_core.testing import files_of
from regionspot_core.tiny.world import World
from regionspot_extract.config import ExtractConfig

pytestmark = pytest.mark.slow

SCENES, PART = 24, 3
PARTS = SCENES // PART
KILLS = 10
"""Of each kind of store."""
KEEPS = {"float16": {}, "int8, all views": {"dtype": "int8", "jitter": 1, "flip": True}}
BARE = {"int8, all views"}
"""Those on a file system that has no locks and cannot be waited for."""


@pytest.fixture(scope="module")
def world(world_of: Callable[[int], World]) -> World:
    return world_of(SCENES)


def committed(out: Path) -> set[int]:
    return {int(path.stem) for path in out.glob("parts/0*.json")}


def make_config(world: World, bank: Path, out: Path, keep: dict[str, object]) -> ExtractConfig:
    values = {
        "images": world.train_images,
        "annotations": world.train_annotations,
        "out": out,
        "bank": bank,
        "part_images": PART,
        "keep": keep,
    }
    return ExtractConfig.parse(values, source="test")


@pytest.mark.parametrize("keep", KEEPS)
def test_a_run_killed_again_and_again(world: World, bank: Path, tmp_path: Path, keep: str) -> None:
    config = partial(make_config, world, bank, keep=KEEPS[keep])
    whole = killable.start(config(tmp_path / "whole"), tmp_path / "log")
    forked.wait(whole)
    assert whole.exitcode == 0, (tmp_path / "log").read_text()
    assert killable.parts_begun(tmp_path / "log") == list(range(PARTS))
    expected, events = files_of(tmp_path / "whole"), killable.events(tmp_path / "log")

    rng = random.Random(keep)
    kills = stores = 0
    while kills < KILLS:
        stores += 1
        out = tmp_path / f"store-{stores}"
        ended = False
        while not ended:
            there, log = committed(out), tmp_path / f"log-{stores}-{kills}"
            at = rng.randint(1, events * 2 // 3) if kills < KILLS else None
            run = killable.start(config(out), log, kill_at=at, bare=keep in BARE)
            forked.wait(run)
            ended = run.exitcode != -signal.SIGKILL
            kills += not ended
            begun = killable.parts_begun(log)
            assert there.isdisjoint(begun)
            assert len(set(begun)) == len(begun)
            assert there <= committed(out)
            if begun and there:
                assert f"{len(there)} of {PARTS} parts are there already" in log.read_text()
        assert run.exitcode == 0, log.read_text()
        assert files_of(out) == expected
        left = [path.name for path in tmp_path.iterdir() if path.name.startswith(out.name)]
        assert left == [out.name]


@pytest.fixture(scope="module")
def alone(world: World, bank: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the store of a run that was alone, and its log."""
    folder = tmp_path_factory.mktemp("alone")
    run = killable.start(make_config(world, bank, folder / "store", {}), folder / "log")
    forked.wait(run)
    assert run.exitcode == 0, (folder / "log").read_text()
    return folder


@pytest.mark.parametrize("killed_at", [None, 0.05, 0.2, 0.4])
def test_two_runs_on_one_store_at_once(
    world: World, bank: Path, alone: Path, tmp_path: Path, killed_at: float | None
) -> None:
    """They share the parts; where one is killed at an event, the other does all that it leaves."""
    config = make_config(world, bank, tmp_path / "store", {})
    logs = [tmp_path / "log-0", tmp_path / "log-1"]
    at = None if killed_at is None else int(killed_at * killable.events(alone / "log"))
    runs = [killable.start(config, logs[0], kill_at=at), killable.start(config, logs[1])]
    for run in runs:
        forked.wait(run)
    assert runs[1].exitcode == 0, logs[1].read_text()
    begun = [killable.parts_begun(log) for log in logs]
    assert set(begun[0]) | set(begun[1]) == set(range(PARTS))
    # The killed run was encoding one part and writing another: no others can be begun twice.
    assert len(set(begun[0]) & set(begun[1])) <= 2 * (runs[0].exitcode != 0)
    written = files_of(tmp_path / "store").items()
    assert {k: v for k, v in written if not k.startswith("locks/")} == files_of(alone / "store")
    if runs[0].exitcode != 0:
        # It may have died after the other ended, with locks in its hands: the next call's to take.
        last = killable.start(config, tmp_path / "log-2")
        forked.wait(last)
        assert last.exitcode == 0, (tmp_path / "log-2").read_text()
        assert not killable.parts_begun(tmp_path / "log-2")
    assert files_of(tmp_path / "store") == files_of(alone / "store")
    assert sorted(path.name for path in tmp_path.glob("store*")) == ["store"]
