"""Several processes, or several pieces, learn what one does with the whole batch."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from regionspot_core.testing import make_cache
from regionspot_train.config import TrainConfig, recipe_or_file
from regionspot_train.data.loader import FeatureLoader
from regionspot_train.data.sources import open_sources
from regionspot_train.learning.learner import Learner
from regionspot_train.run import run_training

pytestmark = pytest.mark.slow

SETTINGS = [
    "steps=12", "batch_images=5", "log_every=1", "head.ffn_width=32", "head.heads=2",
    "head.dropout=0", "optimiser.lr=0.003", "optimiser.warmup_steps=2", "checkpoint_every=5",
    "validation.every=4",
]  # fmt: skip
WAYS = pytest.mark.parametrize(
    "options",
    [
        ["loss.kind=focal", "loss.reduction=paper"],
        [
            "loss.reduction=mean",
            "loss.negatives=2",
            "reading.shuffle=windowed",
            "optimiser.ema=0.9",
        ],
        ["loss.federated=true", "loss.negatives=1"],
    ],
    ids=["paper", "mean", "federated"],
)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("stores")
    make_cache(folder / "a", [2, 3, 1, 0, 4, 1, 6], seed=1, federated=True)
    make_cache(folder / "b", [1, 3] * 5, seed=2, federated=True)
    return [folder / "a", folder / "b"]


def losses(out: Path) -> list[float]:
    lines = (out / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def top1(out: Path) -> list[float]:
    lines = (out / "validation.jsonl").read_text().splitlines()
    return [json.loads(line)["top1"] for line in lines]


def alone(stores: list[Path], out: Path, *options: str) -> list[float]:
    config = TrainConfig.load(recipe_or_file("demo"), [*SETTINGS, *options])
    run_training(config, store=stores, out=out, validate_on=stores[0], pictured=False)
    return losses(out)


@WAYS
@pytest.mark.parametrize("pieces", [2, 5, 9])
def test_pieces_add_up(stores: list[Path], tmp_path: Path, options: list[str], pieces: int) -> None:
    whole = alone(stores, tmp_path / "whole", *options)
    found = alone(stores, tmp_path / "pieces", *options, f"pieces={pieces}")
    assert found == pytest.approx(whole, rel=1e-5)


@WAYS
def test_two_processes_learn_what_one_does(
    stores: list[Path], tmp_path: Path, options: list[str]
) -> None:
    whole = alone(stores, tmp_path / "one", *options)
    settings = [word for each in (*SETTINGS, *options) for word in ("--set", each)]
    caches = [word for store in stores for word in ("--cache", str(store))]
    done = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone",
            "-m", "regionspot", "train", "fit", *caches, "--val", str(stores[0]),
            "--out", str(tmp_path / "two"), "--config", "demo", *settings,
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("parameters") == 1  # one process speaks
    assert losses(tmp_path / "two") == pytest.approx(whole, rel=1e-5)
    assert top1(tmp_path / "two") == top1(tmp_path / "one")
    one, two = ({path.name for path in (tmp_path / run).iterdir()} for run in ("one", "two"))
    assert two == one | {"loss.png", "report.html"}  # the one alone was asked for no pictures


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_lower_precisions_learn(stores: list[Path], tmp_path: Path, precision: str) -> None:
    whole = alone(stores, tmp_path / "float32")
    found = alone(stores, tmp_path / precision, f"precision={precision}", "steps=60")
    assert found[0] == pytest.approx(whole[0], rel=0.01)
    assert found[0] != whole[0]
    assert sum(found[-5:]) < 0.7 * sum(found[:5])


def test_a_float16_step_that_overflows_is_left_out(stores: list[Path]) -> None:
    options = [*SETTINGS, "precision=float16", "optimiser.warmup_steps=0"]
    config = TrainConfig.load(recipe_or_file("demo"), options)
    sources = open_sources(stores, config.data)
    learner = Learner(config, sources, torch.device("cpu"))
    batch = next(iter(FeatureLoader(sources, config)))
    before = {name: value.clone() for name, value in learner.learning.state_dict().items()}
    overflowing = learner.state() | {"scaler": learner.state()["scaler"] | {"scale": 2.0**120}}
    learner.restore(before, overflowing)
    learner.learn(batch)
    after = learner.learning.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert learner.state()["scaler"]["scale"] == 2.0**119
    assert learner.step == 1
