"""A sweep's heads are what each would be alone; it is resumed, pruned and told of."""

import contextlib
import csv
import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import stepping
import torch
from safetensors.torch import load_file
from stepping import killed_at, numbers_at

from regionspot_core.errors import (
    CheckpointError,
    ClusterError,
    ConfigError,
    FingerprintError,
    InputError,
)
from regionspot_core.heads.checkpoint import load_head, read_record
from regionspot_core.testing import make_cache
from regionspot_train.config import TrainConfig, load_settings, recipe_or_file
from regionspot_train.data.loader import FeatureLoader
from regionspot_train.data.sources import open_sources
from regionspot_train.learning.learner import Learner
from regionspot_train.learning.lockstep import Lockstep
from regionspot_train.run import run_training
from regionspot_train.sweep.report import SweepReport
from regionspot_train.sweep.run import run_sweep
from regionspot_train.sweep.space import Space

SETTINGS = [
    "steps=20", "batch_images=3", "log_every=5", "head.ffn_width=32", "head.heads=2",
    "head.layers=1", "optimiser.lr=0.003", "optimiser.warmup_steps=2", "checkpoint_every=6",
    "validation.every=5",
]  # fmt: skip
SPACE = {
    "search": {"pruner": "none"},
    "space": {
        "optimiser.lr": {"low": 1e-4, "high": 1e-2, "log": True},
        "head.layers": {"low": 1, "high": 2},
        "head.dropout": [0.0, 0.2],
        "loss.kind": ["focal", "softmax"],
        "seed": {"low": 0, "high": 9},
    },
}


OPTIONS = [
    "head.region_tokens=all", "head.box_geometry=true", "head.image_positions=sincos",
    "head.shared_keys=true", "head.width=8",
]  # fmt: skip


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("stores")
    make_cache(folder / "train", [2, 3, 1, 0, 4, 1, 6, 2], seed=1, federated=True)
    make_cache(folder / "val", [1, 3] * 4, seed=2)
    return [folder / "train", folder / "val"]


def settings(*overrides: str) -> TrainConfig:
    return TrainConfig.load(recipe_or_file("demo"), [*SETTINGS, *overrides])


def space_of(**changed: Any) -> Space:
    return Space.parse(SPACE | changed, source="test")


def sweep(stores: list[Path], out: Path, *overrides: str, **options: Any) -> SweepReport:
    space = options.pop("space", space_of())
    asked: dict[str, Any] = {"trials": 6, "at_once": 3, "pictured": False} | options
    return run_sweep(
        settings(*overrides), space, store=stores[0], validate_on=stores[1], out=out, **asked
    )


def require_close(
    mine: dict[str, torch.Tensor], alone: dict[str, torch.Tensor], tolerance: float
) -> None:
    """Weights agree, but for those with a gradient of 0 but for rounding, where that is allowed.

    A softmax does not see what is added to all of its inputs alike: neither a bias of the keys nor,
    in the softmax loss, one of the logits. Adam makes steps of their gradients' rounding errors.
    """
    for name, value in alone.items():
        difference = (mine[name] - value).abs()
        if tolerance and name.endswith("in_proj_bias"):
            difference = torch.cat([difference.chunk(3)[0], difference.chunk(3)[2]])
        if tolerance and name.endswith("image_keys.bias"):
            difference = difference.chunk(2)[1]
        if not (tolerance and name == "logit_bias"):
            assert difference.max() <= tolerance, name


def require_same_as_alone(stores: list[Path], head: Path, out: Path, tolerance: float) -> None:
    """Train the head of a sweep again by `fit` with its folder's settings."""
    config = load_settings(str(head), [])
    run_training(config, store=stores[0], out=out, validate_on=stores[1], pictured=False)
    mine, alone = (load_file(each / "head.safetensors") for each in (head, out))
    assert mine.keys() == alone.keys()
    require_close(mine, alone, tolerance)
    losses = [
        [json.loads(line)["loss"] for line in (each / "metrics.jsonl").read_text().splitlines()]
        for each in (head, out)
    ]
    assert losses[0] == pytest.approx(losses[1], abs=tolerance)


Swept = tuple[Path, SweepReport]
NUMBERS = [
    pytest.param(number, marks=() if number in (0, 5) else pytest.mark.slow) for number in range(6)
]
"""One head of those that began together, one of those that took their places, and the others."""


@pytest.fixture(scope="module")
def swept(stores: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Swept:
    """A sweep of six heads, three at a time."""
    out = tmp_path_factory.mktemp("swept") / "sweep"
    return out, sweep(stores, out, pictured=True)


@pytest.fixture(scope="module")
def stacked(stores: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Swept:
    """A sweep of six heads, those of one shape in stacks."""
    out = tmp_path_factory.mktemp("stacked") / "sweep"
    space = space_of(space={
        "optimiser.lr": {"low": 1e-4, "high": 1e-2, "log": True}, "loss.kind": ["focal", "softmax"],
        "optimiser.weight_decay": [0.0, 0.1], "seed": {"low": 0, "high": 9},
        "head.activation": ["relu", "gelu"],
    })  # fmt: skip
    return out, sweep(stores, out, "head.dropout=0", space=space, stacked=True, at_once=4)


def test_heads_take_the_places_of_those_that_end(swept: Swept) -> None:
    """Three begin together; the others join in mid-stream."""
    _, report = swept
    assert report.states == {"finished": 6}
    begun = {each.number: each.user_attrs["first_batch"] for each in report.trials}
    assert sorted(begun.values()) == [0, 0, 0, 20, 20, 20]
    assert [begun[0], begun[5]] == [0, 20]
    assert len({tuple(each.params.values()) for each in report.trials}) == 6


@pytest.mark.parametrize("number", NUMBERS)
def test_heads_are_what_each_would_be_alone(
    stores: list[Path], swept: Swept, tmp_path: Path, number: int
) -> None:
    head = swept[0] / "trials" / f"{number:04d}"
    require_same_as_alone(stores, head, tmp_path / "alone", tolerance=0)
    assert not (head / "checkpoints").exists()


@pytest.mark.parametrize("number", NUMBERS)
def test_stacked_heads_are_what_each_would_be_alone(
    stores: list[Path], stacked: Swept, tmp_path: Path, number: int
) -> None:
    assert stacked[1].states == {"finished": 6}
    head = stacked[0] / "trials" / f"{number:04d}"
    require_same_as_alone(stores, head, tmp_path / "alone", tolerance=1e-5)


@pytest.mark.parametrize(
    "options",
    [[], ["optimiser.ema=0.9"], ["loss.negatives=2"], ["loss.federated=true"], OPTIONS],
    ids=" ".join,
)
def test_a_stack_is_used_and_learns_the_same(stores: list[Path], options: list[str]) -> None:
    configs = [
        settings("head.dropout=0", f"seed={seed}", f"optimiser.lr={lr}", *options)
        for seed, lr in ((0, 0.001), (1, 0.01), (2, 0.003))
    ]
    sources = open_sources(stores[0], configs[0].data)
    device = torch.device("cpu")
    apart, together = ([Learner(each, sources, device) for each in configs] for _ in range(2))
    lockstep, plain = Lockstep(device, stacked=True), Lockstep(device)
    for batch in list(FeatureLoader(sources, configs[0]))[:6]:
        one, two = plain.learn(apart, batch), lockstep.learn(together, batch)
        for mine, alone in zip(two, one, strict=True):
            assert not isinstance(mine, Exception)
            assert not isinstance(alone, Exception)
            assert mine.loss.item() == pytest.approx(alone.loss.item(), abs=1e-5)
    assert len(lockstep._stacks) == 1
    for mine, alone in zip(together, apart, strict=True):
        require_close(mine.head.state_dict(), alone.head.state_dict(), tolerance=1e-5)


def test_each_batch_is_read_once(stores: list[Path], tmp_path: Path) -> None:
    with numbers_at("read images") as reads:
        sweep(stores, tmp_path / "sweep", trials=5, at_once=5)
    steps, validations = 20, 4 * 3  # 4 validations of 3 batches, for all heads
    assert 0 <= len(reads) - steps - validations <= 6  # and what was read ahead
    assert reads.count(2) == 4  # of 8 images to validate on, in batches of 3


def test_what_a_sweep_leaves(swept: Swept) -> None:
    out, report = swept
    rows = list(csv.DictReader((out / "trials.csv").read_text().splitlines()))
    assert [float(row["best"]) for row in rows] == sorted(
        (float(row["best"]) for row in rows), reverse=True
    )
    assert len(rows) == 6
    best = report.best
    assert best is not None
    folder = out / "trials" / f"{best.number:04d}"
    lines = (folder / "validation.jsonl").read_text().splitlines()
    assert best.value == max(json.loads(line)["top1"] for line in lines)
    assert load_head(out / "best").config == read_record(folder / "best").config
    for file in ("head.json", "head.safetensors"):
        assert (out / "best" / file).read_bytes() == (folder / "best" / file).read_bytes()
    pictured = [path.parent for path in sorted(out.rglob("report.html"))]
    assert pictured == [folder]
    assert (folder / "loss.png").exists()
    assert (out / "parallel.png").read_bytes().startswith(b"\x89PNG")
    study = optuna.load_study(study_name="sweep", storage=f"sqlite:///{out / 'study.db'}")
    assert len(study.trials) == 6
    assert set(study.trials[0].intermediate_values) == {5, 10, 15, 20}


def test_pruned_heads_make_room(
    stores: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that the pruner gives up end at a validation, and others begin at that batch."""

    def prune(self: Any, study: Any, trial: Any) -> bool:
        return trial.number in (1, 3) and max(trial.intermediate_values) >= 10

    monkeypatch.setattr(optuna.pruners.NopPruner, "prune", prune)
    report = sweep(stores, tmp_path / "sweep", trials=5, at_once=2)
    trials = {each.number: each for each in report.trials}
    assert report.states == {"finished": 3, "pruned": 2}
    assert {n: max(each.intermediate_values) for n, each in trials.items()} == {
        0: 20, 1: 10, 2: 20, 3: 10, 4: 20,
    }  # fmt: skip
    assert [trials[n].user_attrs["first_batch"] for n in range(5)] == [0, 0, 10, 20, 30]
    require_same_as_alone(
        stores, tmp_path / "sweep" / "trials" / "0002", tmp_path / "alone", tolerance=0
    )


def test_a_head_that_diverges_does_not_end_the_others(stores: list[Path], tmp_path: Path) -> None:
    space = space_of(space={"optimiser.lr": [0.003, 1e30]}, search={"sampler": "random"})
    report = sweep(stores, tmp_path / "sweep", space=space, trials=8, at_once=4)
    assert set(report.states) == {"finished", "failed"}
    failed = [each for each in report.trials if each.state == optuna.trial.TrialState.FAIL]
    assert all("not finite" in each.user_attrs["reason"] for each in failed)
    assert {each.params["optimiser.lr"] for each in failed} == {1e30}
    assert report.states == {"finished": 4, "failed": 4}  # no setting more often than the other
    again = sweep(stores, tmp_path / "sweep", space=space, trials=8, at_once=4, resume=True)
    for each in (report, again):
        assert each.exit_code == 1
        named = " ".join(each.failures())
        assert all(str(trial.number) in named for trial in failed)
        assert all("not finite" in reason for reason in each.failures().values())


def kill_at(position: int, stores: list[Path], out: Path, **options: Any) -> None:
    with killed_at("sweep step", position):
        sweep(stores, out, **options)


@pytest.mark.slow
@pytest.mark.parametrize("position", [0, 8, 20, 27])
def test_a_killed_sweep_goes_on_with_its_heads(
    stores: list[Path], tmp_path: Path, position: int
) -> None:
    out = tmp_path / "sweep"
    kill_at(position, stores, out)
    report = sweep(stores, out, resume=True)
    assert report.states == {"finished": 6}
    assert len(report.trials) == 6
    for number in (0, 5):
        head = out / "trials" / f"{number:04d}"
        require_same_as_alone(stores, head, tmp_path / f"alone{number}", tolerance=0)


@pytest.mark.slow
@pytest.mark.parametrize("position", [None, 20])
def test_heads_begun_after_a_resumption_are_those_of_a_sweep_that_was_not_stopped(
    stores: list[Path], tmp_path: Path, position: int | None
) -> None:
    """Extended from three heads to five, or killed when three had ended."""
    whole, out = tmp_path / "whole", tmp_path / "sweep"
    sweep(stores, whole, trials=5)
    if position is None:
        sweep(stores, out, trials=3)
    else:
        kill_at(position, stores, out, trials=5)
    left = out / "trials" / "0000" / "checkpoints"
    left.mkdir()  # as of a sweep that was killed when the study had just been told
    sweep(stores, out, trials=5, resume=True)
    assert not left.exists()
    for number in range(5):
        head = Path("trials") / f"{number:04d}" / "head.safetensors"
        assert (out / head).read_bytes() == (whole / head).read_bytes()


@pytest.mark.slow
def test_kill_9_and_sigterm(stores: list[Path], tmp_path: Path) -> None:
    out, space = tmp_path / "sweep", tmp_path / "space.toml"
    space.write_text(
        '[search]\npruner = "none"\n[space]\n"optimiser.lr" = { low = 1e-4, high = 1e-2 }\n'
        "seed = { low = 0, high = 9 }\n"
    )
    options = [word for each in SETTINGS for word in ("--set", each)]
    words = [
        "train", "sweep", "--cache", str(stores[0]), "--val", str(stores[1]), "--space", str(space),
        "--trials", "6", "--at-once", "2", "--out", str(out), "--config", "demo", "--resume",
        *options,
    ]  # fmt: skip

    killed = stepping.run_command(*words, signalled=(signal.SIGKILL, "sweep step", 12))
    assert killed.returncode == -signal.SIGKILL
    asked = stepping.run_command(*words, signalled=(signal.SIGTERM, "sweep step", 32))
    assert asked.returncode == 128 + signal.SIGTERM
    assert "stopped; the same command with --resume goes on" in " ".join(asked.stdout.split())
    done = stepping.run_command(*words)
    assert done.returncode == 0, done.stderr
    assert "6: 6 finished" in done.stdout
    for number in (0, 3):
        head_folder = out / "trials" / f"{number:04d}"
        require_same_as_alone(stores, head_folder, tmp_path / f"alone{number}", tolerance=0)


def test_another_sweep_is_not_gone_on_with(stores: list[Path], tmp_path: Path) -> None:
    sweep(stores, tmp_path / "sweep", trials=1)
    with pytest.raises(CheckpointError, match="already holds a training run"):
        sweep(stores, tmp_path / "sweep", trials=1)
    other = space_of(search={"sampler": "random", "pruner": "none"})
    with pytest.raises(FingerprintError, match=r"space\.search\.sampler: expected random, f"):
        sweep(stores, tmp_path / "sweep", trials=1, space=other, resume=True)
    more = sweep(stores, tmp_path / "sweep", trials=3, resume=True)
    assert len(more.trials) == 3
    (tmp_path / "sweep" / "study.db").write_bytes(b"no database")
    with pytest.raises(InputError, match=r"study\.db: not a readable Optuna study"):
        sweep(stores, tmp_path / "sweep", trials=3, resume=True)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({}, "space: required, but not given"),
        ({"space": {}}, "space: dictionary should have at least 1 item"),
        ({"space": {"batch_images": [1, 2]}}, "batch_images: heads of a sweep share their batches"),
        ({"space": {"data.jitter": [True]}}, r"only head\.\*, loss\.\*, optimiser\.\*, seed and"),
        ({"space": {"head.layers": []}}, "head.layers: expected at least one choice"),
        ({"space": {"head.layers": {"low": 3, "high": 1}}}, "low must be below high, got 3 and 1"),
        ({"space": {"optimiser.lr": {"low": 0, "high": 1, "log": True}}}, "needs low above 0"),
        ({"space": {"optimiser.lr": {"low": 1, "high": 2, "log": True, "step": 1}}}, "either log"),
        ({"space": {"head.depth": [1]}}, "unknown key 'head.depth'; expected one of"),
        ({"space": {"head.layers": [1, 0]}}, "head.layers: input should be greater than or equal"),
        ({"space": {"loss.kind": ["focal", "hinge"]}}, "loss.kind: expected focal, softmax, or"),
        ({"search": {"sampler": "grid"}, "space": {"seed": [1]}}, "search.sampler: input should"),
        ({"space": {"head.layers": [9_999_999]}}, "head.layers: input should be less than or eq"),
        ({"space": {"head.layers": {"low": 1, "high": 9_999_999}}}, "head.layers: input should be"),
        ({"space": {"steps": {"low": 1, "high": 10**12}}}, "steps: input should be less than or"),
        ({"space": {"seed": {"low": 0, "high": 2**60}}}, "expected numbers from -9007199254740992"),
        ({"space": {"seed": {"low": 0, "high": 10**40}}}, r"expected a number below 2\^63"),
        (
            {"space": {"optimiser.lr": {"low": 1e-5, "high": 1e300}}},
            "expected numbers from -1e",
        ),
        ({"space": {"head.dropout": {"low": 0.0, "high": 0.5, "step": 1e-300}}}, "expected a step"),
        ({"space": {"head.dropout": {"low": 0.0, "high": 0.5, "step": 0.6}}}, "expected a step th"),
        ({"space": {"head.layers": {"low": 1, "high": 4, "step": 0.5}}}, "needs a whole step, got"),
        ({"space": {"seed": [1, 2, 1]}}, r"seed: expected each choice once, got \[1, 2, 1\]"),
        ({"space": {"seed": list(range(1_001))}}, "seed: expected at most 1,000 choices"),
        ({"space": {f"head.{n}": [1] for n in range(101)}}, "at most 100 items"),
        (
            {"search": {"seed": 10**30}, "space": {"seed": [1]}},
            r"search\.seed: expected a num",
        ),
    ],
)
def test_a_space_that_cannot_be_tried(space: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Space.parse(space, source="space.toml").require_allowed(settings())


@pytest.mark.parametrize(
    "size", [{"trials": 10**6}, {"trials": 0}, {"at_once": 10**9}, {"ray_groups": 10**4}]
)
def test_a_sweep_of_too_many_heads(
    stores: list[Path], tmp_path: Path, size: dict[str, int]
) -> None:
    with pytest.raises(ConfigError, match=f"train sweep: {next(iter(size))}: input should be"):
        sweep(stores, tmp_path / "sweep", **size)
    assert not (tmp_path / "sweep").exists()


def descendants(process: int) -> Iterator[int]:
    """The processes that a process started, and those that they did."""
    for children in Path(f"/proc/{process}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, children.read_text().split()):
                yield child
                yield from descendants(child)


def has_name(process: int, start: str) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_text().startswith(start)
    return False


@pytest.mark.slow
def test_groups_on_a_ray_cluster(stores: list[Path], tmp_path: Path) -> None:
    """Two groups, each with its own read; the worker of one is killed, and its heads go on."""
    ray = pytest.importorskip("ray")
    out = tmp_path / "sweep"
    # A cluster of its own, whatever other tests have running.
    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "error"}
    ray.init(address="local", num_cpus=2, **quiet)
    killed, over = threading.Event(), threading.Event()

    def kill_one() -> None:
        # Ray names a worker's process after its task. Another's Ray may have such workers too.
        while not over.wait(0.02):
            if list(out.glob("trials/*/checkpoints/*/state.pt")):
                started = list(descendants(os.getpid()))
                workers = [each for each in started if has_name(each, "ray::_learn")]
                if workers:
                    os.kill(workers[0], signal.SIGKILL)
                    killed.set()
                    return

    thread = threading.Thread(target=kill_one)
    thread.start()
    try:
        report = sweep(stores, out, "steps=150", trials=2, at_once=1, ray_groups=2)
    finally:
        over.set()
        thread.join()
        ray.shutdown()
    assert killed.is_set()
    assert report.states == {"finished": 2}
    assert {each.user_attrs["group"] for each in report.trials} == {0, 1}
    for number in (0, 1):
        head = out / "trials" / f"{number:04d}"
        require_same_as_alone(stores, head, tmp_path / f"alone{number}", tolerance=0)


@pytest.mark.slow
def test_a_cluster_that_does_not_answer(stores: list[Path], tmp_path: Path) -> None:
    pytest.importorskip("ray")
    with pytest.raises(ClusterError, match=r"nothing answers at 127\.0\.0\.1:9"):
        sweep(stores, tmp_path / "sweep", ray_groups=2, ray_address="127.0.0.1:9")


def test_a_sweep_is_one_process(
    stores: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="a sweep is one process, and torchrun started 2"):
        sweep(stores, tmp_path / "sweep")
    assert not (tmp_path / "sweep").exists()
