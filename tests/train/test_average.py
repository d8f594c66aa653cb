"""The exponential mean of the weights: equal to the recursion, and what is kept."""

from pathlib import Path
from typing import Any

import pytest
import torch

from regionspot_core.heads.checkpoint import load_head
from regionspot_core.testing import make_cache
from regionspot_train.config import TrainConfig, recipe_or_file
from regionspot_train.learning.learner import Learner
from regionspot_train.run import run_training

SETTINGS = [
    "steps=12", "batch_images=2", "log_every=5", "head.ffn_width=32", "head.heads=2",
    "optimiser.lr=0.003", "checkpoint_every=5", "head.dropout=0.2",
]  # fmt: skip
DECAY = 0.7


@pytest.fixture
def store(tmp_path: Path) -> Path:
    make_cache(tmp_path / "store", [2, 3, 1, 2])
    return tmp_path / "store"


def fit(store: Path, out: Path, *overrides: str, resume: bool = False) -> None:
    config = TrainConfig.load(recipe_or_file("demo"), [*SETTINGS, *overrides])
    run_training(config, store=store, out=out, validate_on=store, resume=resume)


def test_the_kept_head_is_the_mean(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mean starts at the first step's weights: m = 0.7 m + 0.3 w after each one after it."""
    original, after = Learner.learn, []

    def learn(self: Learner, batch: Any) -> Any:
        learnt = original(self, batch)
        after.append({n: w.detach().clone() for n, w in self._learning.state_dict().items()})
        return learnt

    monkeypatch.setattr(Learner, "learn", learn)
    fit(store, tmp_path / "run", f"optimiser.ema={DECAY}")
    mean = after[0]
    for weights in after[1:]:
        mean = {name: DECAY * mean[name] + (1 - DECAY) * weights[name] for name in mean}
    found = load_head(tmp_path / "run").state_dict()
    assert found.keys() == mean.keys()
    for name, value in mean.items():
        torch.testing.assert_close(found[name], value)
    assert not torch.equal(found["projector.weight"], after[-1]["projector.weight"])

    after.clear()
    fit(store, tmp_path / "plain")
    torch.testing.assert_close(
        load_head(tmp_path / "plain").state_dict(), after[-1], rtol=0, atol=0
    )


def test_a_resumed_run_has_the_same_mean(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    option = f"optimiser.ema={DECAY}"
    fit(store, tmp_path / "whole", option)
    original = Learner.learn

    def learn(self: Learner, batch: Any) -> Any:
        if self.step == 8:
            raise KeyboardInterrupt
        return original(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "learn", learn)
        with pytest.raises(KeyboardInterrupt):
            fit(store, tmp_path / "run", option)
    fit(store, tmp_path / "run", option, resume=True)
    for name in ("head.safetensors", "validation.jsonl", "best/head.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
