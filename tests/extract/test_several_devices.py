"""Several devices of one machine, a process each: one run's bytes, and faults that are told."""

import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from regionspot_core.distributed.processes import Processes
from regionspot_core.errors import ConfigError, InputError, WorkerError
from regionspot_core.testing import files_of
from regionspot_core.tiny.world import World
from regionspot_extract.config import ExtractConfig
from regionspot_extract.run import run_extraction
from regionspot_extract.stores.info import describe_store

pytestmark = pytest.mark.slow

BOUND = 120
"""Seconds that a process of a test may take on a busy machine."""

SCENES, PART, PARTS = 24, 4, 6


@pytest.fixture(scope="module")
def world(world_of: Callable[[int], World]) -> World:
    return world_of(SCENES)


@pytest.fixture(scope="module")
def finished(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "store.zarr"
    run_extraction(make_config(world, out))
    return out


def make_config(world: World, out: Path, **changes: object) -> ExtractConfig:
    values = {
        "images": world.train_images,
        "annotations": world.train_annotations,
        "bank": world.train_annotations.with_name("bank.h5"),
        "out": out,
    }
    return ExtractConfig.parse(
        {**values, "part_images": PART, "batch_images": 2, "workers": 1, **changes}, source="test"
    )


def test_two_processes_give_one_processes_bytes(
    world: World, finished: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    report = run_extraction(make_config(world, tmp_path / "s", devices=["cpu", "cpu"]))
    assert (report.parts_done, report.failed, report.complete) == (PARTS, (), True)
    assert files_of(tmp_path / "s") == files_of(finished)
    lines = capfd.readouterr().err.splitlines()
    shown = [line.split(",")[0] for line in lines]  # a long run tells of itself now and then
    assert all(each.endswith(f"/{SCENES} images") for each in shown)
    assert shown.index(f"extract: {SCENES}/{SCENES} images") == len(shown) - 1
    assert multiprocessing.active_children() == []


def test_a_process_that_dies(
    world: World, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is named with its signal, and the same command goes on."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "kill_at_point"))
    monkeypatch.setenv("KILL_AT", f"encode batch {2 * PART}")
    config = make_config(world, tmp_path / "s", devices=["cpu"])
    died = r"the process on cpu died at part (1, )?2.* \(SIGKILL\); the same command goes on"
    with pytest.raises(WorkerError, match=died):
        run_extraction(config)
    assert multiprocessing.active_children() == []
    there = describe_store(config.out).parts_written
    assert 1 <= there <= 2
    monkeypatch.delenv("KILL_AT")
    report = run_extraction(config)
    assert (report.parts_resumed, report.complete) == (there, True)
    assert files_of(tmp_path / "s") == files_of(finished)


def test_a_device_that_is_not_there(world: World, tmp_path: Path) -> None:
    config = make_config(world, tmp_path / "s", devices=["cpu", "cuda:77"])
    with pytest.raises(InputError, match="device 'cuda:77' cannot be used here"):
        run_extraction(config)
    assert not (tmp_path / "s").exists()


def test_a_workers_error_is_the_runs_own(world: World, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="device 'cuda:77' cannot be used here"):
        run_extraction(make_config(world, tmp_path / "s"), launcher=Processes(("cuda:77",)))
    assert multiprocessing.active_children() == []


def test_images_that_failed_are_tried_again(world: World, tmp_path: Path) -> None:
    """Each process has its share of the parts: one that fails again is not done by both."""
    images = tmp_path / "images"
    shutil.copytree(world.train_images, images)
    names = [i["file_name"] for i in json.loads(world.train_annotations.read_text())["images"]]
    mended, lost = names[0], names[PART]
    whole = (images / mended).read_bytes()
    (images / mended).unlink()
    (images / lost).unlink()
    config = make_config(world, tmp_path / "s", images=images, devices=["cpu", "cpu"])
    assert [failure.file for failure in run_extraction(config).failed] == [mended, lost]
    (images / mended).write_bytes(whole)
    report = run_extraction(config.model_copy(update={"retry_failed": True}))
    assert [failure.file for failure in report.failed_now] == [lost]
    assert (report.parts_done, report.parts_resumed) == (2, PARTS - 2)


def test_ctrl_c_ends_all_processes(world: World, tmp_path: Path) -> None:
    """Exit code 130 and nobody left, while a process is in the middle of a part.

    The first to have its models may take all parts that there are.
    """
    reached = tmp_path / "reached"
    reached.mkdir()
    command = [sys.executable, "-m", "regionspot", "extract", "run", "--device", "cpu,cpu"]
    data = ["--images", world.train_images, "--annotations", world.train_annotations,
            "--bank", world.train_annotations.with_name("bank.h5"),
            "--out", tmp_path / "s"]  # fmt: skip
    waits = Path(__file__).parents[1] / "wait_at_first_batch"
    run = subprocess.Popen(
        [*command, *map(str, data), "--part-images", str(PART)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(waits), "REACHED": str(reached)},
        # A shell's background jobs, and so all that they start, have it ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        for _ in range(BOUND * 20):
            if list(reached.iterdir()) or run.poll() is not None:
                break
            time.sleep(0.05)
        os.killpg(run.pid, signal.SIGINT)
        # Ends when the last process that has the pipe does.
        _, said = run.communicate(timeout=BOUND)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
    assert list(reached.iterdir())
    assert run.returncode == 130
    assert "Traceback" not in said


def test_ray_takes_one_device(world: World, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected one device with --engine ray"):
        make_config(world, tmp_path / "s", devices=["cpu", "cpu"], engine="ray")


def test_ray_takes_nothing_compiled(world: World, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected no --compile with --engine ray"):
        make_config(world, tmp_path / "s", engine="ray", backbones={"compile": 8})
