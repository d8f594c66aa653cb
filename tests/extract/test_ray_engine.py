"""Parts on a Ray cluster: one process's bytes, whatever dies on the way."""

import json
import re
import shutil
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray_mischief

from regionspot_core.backbones.loading import load_backbones
from regionspot_core.distributed.ray_cluster import RayOptions
from regionspot_core.distributed.ray_tasks import RayTasks
from regionspot_core.distributed.shares import Event, Job, Message, Worker, WorkerAddress
from regionspot_core.errors import CacheError, ClusterError, ImageError, InputError
from regionspot_core.testing import files_of
from regionspot_core.tiny.world import World
from regionspot_extract.config import ExtractConfig
from regionspot_extract.run import run_extraction
from regionspot_extract.stores.info import describe_store

pytestmark = pytest.mark.slow

SCENES, PART, BATCH = 30, 7, 3
MIDWAY = PART + BATCH
"""Where the second batch of part 1 begins."""
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}


@pytest.fixture(scope="module")
def world(world_of: Callable[[int], World]) -> World:
    return world_of(SCENES)


def make_config(world: World, out: Path, **changes: object) -> ExtractConfig:
    values = {
        "images": world.train_images,
        "annotations": world.train_annotations,
        "out": out,
        "part_images": PART,
        "batch_images": BATCH,
        **changes,
    }
    return ExtractConfig.parse(values, source="test")


@pytest.fixture(scope="module")
def plain() -> Iterator[dict[str, Any]]:
    """Settings for plain models, which are known here and in the workers."""
    with ray_mischief.plain_models():
        yield {"backbones": {"sam": "plain", "clip": "plain"}}


@pytest.fixture(scope="module")
def finished(world: World, plain: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store that the local engine writes with the plain models."""
    out = tmp_path_factory.mktemp("finished") / "store.zarr"
    run_extraction(make_config(world, out, **plain))
    return out


@pytest.fixture(scope="module")
def folder_of_mischief(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mischief")


@pytest.fixture(scope="module")
def cluster(folder_of_mischief: Path) -> Iterator[Any]:
    """A cluster of one machine with one CPU."""
    ray = pytest.importorskip("ray")
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    made = cluster_utils.Cluster(
        initialize_head=True, head_node_args={**NODE, "include_dashboard": False}
    )
    ray.cloudpickle.register_pickle_by_value(ray_mischief)
    try:
        ray.init(
            made.address,
            log_to_driver=False,
            logging_level="error",
            runtime_env={
                "worker_process_setup_hook": ray_mischief.install,
                "env_vars": {ray_mischief.FOLDER: str(folder_of_mischief)},
            },
        )
        yield made
    finally:
        ray.shutdown()
        made.shutdown()


@pytest.fixture
def mischief(cluster: Any, folder_of_mischief: Path) -> Iterator[Path]:
    """The folder that tells the workers what is to go wrong."""
    yield folder_of_mischief
    for path in folder_of_mischief.iterdir():
        path.unlink()


def begun(mischief: Path) -> Counter[int]:
    """How many workers began each batch, by its first image."""
    return Counter(int(path.name.split("-")[1]) for path in mischief.glob("begun-*"))


def test_a_worker_killed_midway(
    world: World,
    finished: Path,
    plain: Any,
    mischief: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (mischief / f"kill-once-{MIDWAY}").touch()
    out = tmp_path / "store.zarr"
    report = run_extraction(make_config(world, out, engine="ray", **plain))
    assert (report.parts_done, report.parts_resumed, report.complete) == (5, 0, True)
    assert files_of(out) == files_of(finished)
    # Part 0 is being written, or has been, when part 1 kills the worker. Images are read ahead, of
    # as many of the small parts as there is time for.
    said = capfd.readouterr().err
    assert re.search(r"died at part (0 or )?1( or 2( or 3( or 4)?)?)?; starting another", said)
    # The batches of part 1 up to the kill were done twice, and at most those of part 0.
    twice = {first for first, count in begun(mischief).items() if count > 1}
    assert {PART, MIDWAY} <= twice <= {PART, MIDWAY, *range(0, PART, BATCH)}


def test_the_tiny_models_give_one_processes_bytes(
    world: World, mischief: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths are as a user types them, from a folder that is not the workers'."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").symlink_to(world.train_images)
    (tmp_path / "annotations.json").symlink_to(world.train_annotations)
    paths = {"images": "images", "annotations": "annotations.json"}
    run_extraction(make_config(world, Path("local"), **paths))
    report = run_extraction(make_config(world, Path("ray"), engine="ray", **paths))
    assert report.parts_done == 5
    assert files_of(tmp_path / "ray") == files_of(tmp_path / "local")


def test_a_part_that_always_kills_its_worker_and_the_run_after(
    world: World,
    finished: Path,
    plain: Any,
    mischief: Path,
    tmp_path: Path,
) -> None:
    twice = RayTasks(RayOptions(), "auto", tries=2)  # each costs the start of a process
    (mischief / f"kill-{MIDWAY}").touch()
    config = make_config(world, tmp_path / "store.zarr", engine="ray", **plain)
    names = [i["file_name"] for i in json.loads(world.train_annotations.read_text())["images"]]
    named = f"part 1 .images {names[PART]} … {names[2 * PART - 1]}. .* 2 workers died of it"
    with pytest.raises(ClusterError, match=named):
        run_extraction(config, launcher=twice)
    assert begun(mischief)[MIDWAY] == 2
    committed = describe_store(config.out).parts_written
    assert 1 <= committed < 5

    (mischief / f"kill-{MIDWAY}").unlink()
    report = run_extraction(config)
    assert (report.parts_resumed, report.parts_done) == (committed, 5 - committed)
    assert files_of(tmp_path / "store.zarr") == files_of(finished)


def test_an_error_in_a_worker_is_raised_here(
    world: World, plain: Any, mischief: Path, tmp_path: Path
) -> None:
    (mischief / f"nan-{MIDWAY}").touch()
    names = [i["file_name"] for i in json.loads(world.train_annotations.read_text())["images"]]
    with pytest.raises(ImageError) as caught:
        run_extraction(make_config(world, tmp_path / "s", engine="ray", **plain))
    assert type(caught.value) is ImageError
    assert str(caught.value).startswith(f"{names[MIDWAY + BATCH - 1]}: the models' features")
    assert len(str(caught.value).splitlines()) == 1
    assert describe_store(tmp_path / "s").parts_written == 1


def test_a_machine_that_dies(
    world: World, finished: Path, plain: Any, cluster: Any, mischief: Path, tmp_path: Path
) -> None:
    """Its worker hangs in its first part until the machine is gone; the other does the rest."""
    second = cluster.add_node(**NODE)
    held = mischief / f"held-{second.node_id}"
    (mischief / f"hold-{second.node_id}").touch()

    def kill_the_machine() -> None:
        ends = time.monotonic() + 300
        while not held.exists() and time.monotonic() < ends:
            time.sleep(0.01)
        cluster.remove_node(second, allow_graceful=False)

    killer = threading.Thread(target=kill_the_machine)
    killer.start()
    out = tmp_path / "store.zarr"
    # The folder's news of another machine's lock may come late; the run waits for its part.
    report = run_extraction(make_config(world, out, engine="ray", **plain))
    killer.join()
    assert held.exists()
    assert (report.parts_done, report.complete) == (5, True)
    assert files_of(out) == files_of(finished)


def test_without_ray_it_says_what_to_install(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"Ray is not installed here; .*regionspot\[ray\]"):
        run_extraction(make_config(world, tmp_path / "s", engine="ray"))
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("by", ["option", "environment"])
def test_an_address_where_no_cluster_is(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    pytest.importorskip("ray")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        if by == "environment":
            monkeypatch.setenv("RAY_ADDRESS", address)
        options = {"address": address} if by == "option" else {}
        config = make_config(world, tmp_path / "s", engine="ray", ray=options)
        with pytest.raises(
            ClusterError, match=f"nothing answers at {address} .*expected HOST:PORT"
        ):
            run_extraction(config)
    assert not (tmp_path / "s").exists()


def test_loaded_models_are_refused(world: World, tmp_path: Path) -> None:
    config = make_config(world, tmp_path / "s", engine="ray")
    with pytest.raises(InputError, match="expected models that the configuration names"):
        run_extraction(config, backbones=load_backbones(config.backbones))
    assert not (tmp_path / "s").exists()


class Elsewhere:
    """A machine that does not have the store's disk; the part it did is not to be seen here."""

    is_main, patience = True, 0.0

    def __init__(self, store: Path, finished: int | None = None) -> None:
        self._store = store
        self._finished = finished

    def run(self, job: Job) -> None:
        if self._finished is not None:
            job.on_message(Message(Event.FINISHED, self._finished), WorkerAddress("there", 7))
        shutil.move(self._store, self._store.with_name("elsewhere"))
        job.run(Worker())


def test_a_machine_that_does_not_see_the_store(world: World, tmp_path: Path) -> None:
    config = make_config(world, tmp_path / "s")
    with pytest.raises(CacheError, match=r"not to be seen on .*all machines of the cluster share"):
        run_extraction(config, launcher=Elsewhere(tmp_path / "s"))
    assert not (tmp_path / "s").exists()


def test_a_part_that_is_not_seen_here(world: World, tmp_path: Path) -> None:
    config = make_config(world, tmp_path / "s")
    named = r"part 4, committed on there \(process 7\), is not to be seen here"
    with pytest.raises(CacheError, match=named):
        run_extraction(config, launcher=Elsewhere(tmp_path / "s", finished=4))
