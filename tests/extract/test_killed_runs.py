"""Runs killed at random moments, and two at once: the bytes of one run, and nothing done twice."""

import random
import signal
import time
from functools import partial
from pathlib import Path

import killable
import pytest

from regionspot_core.backbones.loading import BackboneConfig, load_backbones
from regionspot_core.datasets.vocabulary_files import load_vocabulary
from regionspot_core.testing import files_of
from regionspot_core.text.embed import build_class_bank
from regionspot_core.tiny.world import World, write_world
from regionspot_extract.config import ExtractConfig

SCENES, PART = 45, 3
PARTS = SCENES // PART
KILLS = 20
"""Of each kind of store, so at least twice that."""
KEEPS = {"float16": {}, "int8, all views": {"dtype": "int8", "jitter": 1, "flip": True}}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    return write_world(folder, train_scenes=SCENES, val_scenes=1, seed=3)


@pytest.fixture(scope="module")
def bank(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The class bank, which would take most of each run's time."""
    path = tmp_path_factory.mktemp("bank") / "bank.h5"
    clip = load_backbones(BackboneConfig()).image_text_encoder
    build_class_bank(clip, load_vocabulary(names=None, file=world.train_annotations)).save(path)
    return path


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
    seconds = 0.0
    for name in ("first", "whole"):  # the first also waits for the modules to be loaded
        began = time.monotonic()
        whole = killable.start(config(tmp_path / name), tmp_path / f"log-{name}")
        whole.join()
        seconds = time.monotonic() - began
        assert whole.exitcode == 0, (tmp_path / f"log-{name}").read_text()
    assert killable.parts_begun(tmp_path / "log-whole") == list(range(PARTS))
    expected = files_of(tmp_path / "whole")

    rng = random.Random(keep)
    kills = stores = 0
    while kills < KILLS:
        stores += 1
        out = tmp_path / f"store-{stores}"
        ended = False
        while not ended:
            there, log = committed(out), tmp_path / f"log-{stores}-{kills}"
            run = killable.start(config(out), log)
            run.join(rng.uniform(0, 0.7 * seconds) if kills < KILLS else None)
            run.kill()
            run.join()
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


@pytest.mark.parametrize("killed_after", [None, 0.1, 0.4, 0.7])
def test_two_runs_on_one_store_at_once(
    world: World, bank: Path, tmp_path: Path, killed_after: float | None
) -> None:
    """They share the parts; and where one is killed, the other does all that it leaves."""
    config = make_config(world, bank, tmp_path / "store", {})
    logs = [tmp_path / "log-0", tmp_path / "log-1"]
    runs = [killable.start(config, log) for log in logs]
    if killed_after is not None:
        runs[0].join(killed_after)
        runs[0].kill()
    for run in runs:
        run.join()
    assert runs[1].exitcode == 0, logs[1].read_text()
    begun = [killable.parts_begun(log) for log in logs]
    assert set(begun[0]) | set(begun[1]) == set(range(PARTS))
    # The killed run was encoding one part and writing another: no others can be begun twice.
    assert len(set(begun[0]) & set(begun[1])) <= 2 * (runs[0].exitcode != 0)

    alone = killable.start(make_config(world, bank, tmp_path / "alone", {}), tmp_path / "log")
    alone.join()
    assert files_of(tmp_path / "store") == files_of(tmp_path / "alone")
    assert sorted(path.name for path in tmp_path.glob("store*")) == ["store"]
