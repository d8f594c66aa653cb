"""Several processes evaluate together: the files are those of one."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from small_evaluation import BATCH, IMAGES, config

from regionspot_core.distributed.ray_cluster import RayOptions
from regionspot_core.distributed.ray_tasks import RayTasks
from regionspot_core.distributed.shares import Job, Worker
from regionspot_core.distributed.torchrun import own_gpu, own_share
from regionspot_core.errors import ClusterError, ConfigError, FingerprintError, InputError
from regionspot_core.support.fault_points import at_points
from regionspot_evaluate.recognition.baselines.names import BASELINES
from regionspot_evaluate.reports.printing import EvaluationReport
from regionspot_evaluate.run import prepare_evaluation
from regionspot_evaluate.shares import evaluate_together

pytestmark = pytest.mark.slow

FILES = ("detections.json.gz", "metrics.json", "images.jsonl", "predictions.png")


def arguments(out: Path) -> list[str]:
    return [
        "evaluate", "run", "--images", "world/val", "--annotations", "world/val.json",
        "--head", "first", "--out", str(out), "--batch", str(BATCH), "--device", "cpu",
        "--bank", "bank.h5", *(word for name in BASELINES for word in ("--baseline", name)),
    ]  # fmt: skip


def torchrun(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone",
            "-m", "regionspot", *words,
        ],
        capture_output=True, text=True, check=False, cwd=place,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def assert_same(out: Path, expected: Path, *names: str) -> None:
    for name in names or FILES:
        assert (out / name).read_bytes() == (expected / name).read_bytes(), name


def test_torchrun(place: Path, evaluated: tuple[Path, EvaluationReport], tmp_path: Path) -> None:
    done = torchrun(place, *arguments(tmp_path / "out"))
    assert done.returncode == 1, done.stderr  # the first tells that an image cannot be read
    assert done.stdout.count("1 image could not be read") == 1
    assert_same(
        tmp_path / "out", evaluated[0], "detections.json.gz", "metrics.json", "images.jsonl"
    )


def test_a_share_of_a_share_is_refused(
    place: Path, monkeypatch: pytest.MonkeyPatch, regionspot: Callable[..., Any], tmp_path: Path
) -> None:
    with_ray = regionspot(*arguments(tmp_path), "--engine", "ray", "--shard", "1/2", cwd=place)
    assert with_ray.returncode == 2
    assert "--shard 1/2: expected one process, and workers of Ray share" in with_ray.stderr
    monkeypatch.setenv("WORLD_SIZE", "3")
    with_torchrun = regionspot(*arguments(tmp_path), "--shard", "1/2", cwd=place)
    assert with_torchrun.returncode == 2
    assert "torchrun's 3 processes share the images out" in with_torchrun.stderr


def test_what_torchrun_says(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (own_share().index, own_share().of) == (1, 1)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert [own_gpu(name) for name in ("auto", "cuda", "cpu")] == ["cuda", "cuda", "cpu"]
    for name, value in (("RANK", "5"), ("WORLD_SIZE", "8"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    assert (own_share().index, own_share().of) == (6, 8)
    named = ("auto", "cuda", "cpu", "cuda:3")
    assert [own_gpu(name) for name in named] == ["cuda:1", "cuda:1", "cpu", "cuda:3"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"ray": {"actors": 2}}, "expected --engine ray with options for Ray's workers"),
        ({"engine": "ray", "backbones": {"device": "cuda:1"}}, "Ray gives each worker its own"),
        ({"engine": "dask"}, "'local' or 'ray'"),
    ],
)
def test_options_that_do_not_fit(
    place: Path, tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(ConfigError, match=named):
        config(place, tmp_path, **changes)


@pytest.fixture(scope="module")
def cluster(place: Path) -> Iterator[Any]:
    """A cluster of one machine with room for two workers, in another folder than ours."""
    ray = pytest.importorskip("ray")
    utils = pytest.importorskip("ray.cluster_utils")
    node = {"num_cpus": 2, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    made = utils.Cluster(initialize_head=True, head_node_args=node)
    # The workers know nothing of this file, of which some tests send functions.
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    try:
        ray.init(made.address, log_to_driver=False, logging_level="error")
        yield made
    finally:
        ray.shutdown()
        made.shutdown()


def with_ray(place: Path, out: Path, **changes: Any) -> Any:
    ray = {"actors": 2, "threads": 1}
    return config(place, out, engine="ray", ray=ray, **changes)


def test_ray(
    cluster: Any,
    place: Path,
    evaluated: tuple[Path, EvaluationReport],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(place)
    asked = with_ray(Path(), tmp_path / "out")  # paths as a user types them
    assert not asked.images.is_absolute()
    assert evaluate_together(asked) == {"first": evaluated[1]}
    assert_same(tmp_path / "out", evaluated[0])
    assert f"evaluate: {IMAGES}/{IMAGES} images" in capfd.readouterr().err
    assert prepare_evaluation(asked).amount() == (IMAGES, IMAGES)


def test_an_error_in_a_worker_is_raised_here(cluster: Any, place: Path, tmp_path: Path) -> None:
    asked = with_ray(place, tmp_path / "out", backbones={"sam_checkpoint": tmp_path / "sam.pth"})
    with pytest.raises(InputError, match="--sam tiny brings its own weights") as caught:
        evaluate_together(asked)
    assert len(str(caught.value).splitlines()) == 1


class Dying(RayTasks):
    """A cluster whose worker of the first share is killed when it is to record a batch."""

    def __init__(self, killed: Path, *, deaths: int, batch: int = 0) -> None:
        super().__init__(RayOptions(actors=2, threads=1), "cpu", tries=2)
        self._die = partial(dying, killed, deaths, batch)
        killed.mkdir()

    def run(self, job: Job) -> None:
        super().run(replace(job, run=partial(self._die, job.run)))


def dying(
    killed: Path, deaths: int, batch: int, run: Callable[[Worker], object], worker: Worker
) -> None:
    def die(point: str, number: int) -> None:
        first = (point, worker.share.index) == ("record batch", 1)
        if first and number >= batch and len(list(killed.iterdir())) < deaths:
            (killed / str(os.getpid())).touch()
            os.kill(os.getpid(), signal.SIGKILL)

    with at_points(die):
        run(worker)


def test_a_worker_that_dies_goes_on(
    cluster: Any, place: Path, evaluated: tuple[Path, EvaluationReport], tmp_path: Path
) -> None:
    launcher = Dying(tmp_path / "killed", deaths=1, batch=1)
    asked = config(place, tmp_path / "out")
    assert evaluate_together(asked, launcher=launcher) == {"first": evaluated[1]}
    assert len(list((tmp_path / "killed").iterdir())) == 1
    assert_same(tmp_path / "out", evaluated[0])


def test_a_worker_that_always_dies_is_given_up(cluster: Any, place: Path, tmp_path: Path) -> None:
    launcher = Dying(tmp_path / "killed", deaths=9)
    with pytest.raises(ClusterError, match="stopped: 2 workers died of it"):
        evaluate_together(config(place, tmp_path / "out"), launcher=launcher)
    assert len(list((tmp_path / "killed").iterdir())) == 2


def test_another_evaluation_is_refused_before_any_worker(
    place: Path, evaluated: tuple[Path, EvaluationReport]
) -> None:
    pytest.importorskip("ray")
    with pytest.raises(FingerprintError, match="pairs: expected 40, found 900"):
        evaluate_together(with_ray(place, evaluated[0], pairs=40))


class Elsewhere:
    """A machine whose disk of the same name is another."""

    is_main, patience = True, 0.0

    def run(self, job: Job) -> None:
        pass


def test_what_is_not_to_be_seen_here_is_said(place: Path, tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="of 11 nothing is to be seen here"):
        evaluate_together(config(place, tmp_path / "out"), launcher=Elsewhere())
