"""The exponential mean of the weights: equal to the recursion, and what is kept."""

from pathlib import Path

import pytest
import torch
from stepping import killed_at

from regionspot_core.heads.checkpoint import load_head
from regionspot_core.testing import make_cache
from regionspot_train.config import TrainConfig, recipe_or_file
from regionspot_train.data.loader import FeatureLoader
from regionspot_train.data.sources import open_sources
from regionspot_train.learning.learner import Learner
from regionspot_train.run import run_training

SETTINGS = [
    "steps=12", "batch_images=2", "log_every=5", "head.ffn_width=32", "head.heads=2",
    "optimiser.lr=0.003", "checkpoint_every=5", "head.dropout=0.2",
]  # fmt: skip
DECAY = 0.7


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    make_cache(folder / "store", [2, 3, 1, 2])
    return folder / "store"


def settings(*overrides: str) -> TrainConfig:
    return TrainConfig.load(recipe_or_file("demo"), [*SETTINGS, *overrides])


def fit(store: Path, out: Path, *overrides: str, resume: bool = False) -> None:
    config, options = settings(*overrides), {"validate_on": store, "resume": resume}
    run_training(config, store=store, out=out, pictured=False, **options)


def weights_after_each_step(store: Path, config: TrainConfig) -> list[dict[str, torch.Tensor]]:
    sources = open_sources(store, config.data)
    learner, after = Learner(config, sources, torch.device("cpu")), []
    for batch in FeatureLoader(sources, config):
        learner.learn(batch)
        after.append({n: w.detach().clone() for n, w in learner.learning.state_dict().items()})
    return after


def test_the_kept_head_is_the_mean(store: Path, tmp_path: Path) -> None:
    """The mean starts at the first step's weights: m = 0.7 m + 0.3 w after each one after it."""
    option = f"optimiser.ema={DECAY}"
    fit(store, tmp_path / "run", option)
    after = weights_after_each_step(store, settings(option))
    assert len(after) == 12
    mean = after[0]
    for weights in after[1:]:
        mean = {name: DECAY * mean[name] + (1 - DECAY) * weights[name] for name in mean}
    found = load_head(tmp_path / "run").state_dict()
    assert found.keys() == mean.keys()
    for name, value in mean.items():
        torch.testing.assert_close(found[name], value)
    assert not torch.equal(found["projector.weight"], after[-1]["projector.weight"])

    fit(store, tmp_path / "plain")
    (*_, last) = weights_after_each_step(store, settings())
    torch.testing.assert_close(load_head(tmp_path / "plain").state_dict(), last, rtol=0, atol=0)


def test_a_resumed_run_has_the_same_mean(store: Path, tmp_path: Path) -> None:
    option = f"optimiser.ema={DECAY}"
    fit(store, tmp_path / "whole", option)
    with killed_at("train step", 8):
        fit(store, tmp_path / "run", option)
    fit(store, tmp_path / "run", option, resume=True)
    for name in ("head.safetensors", "validation.jsonl", "best/head.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
