"""No number of a training run is so large that it fails only once something is written."""

from pathlib import Path

import pytest
from numpy.testing import assert_array_equal

from regionspot_core.errors import ConfigError
from regionspot_core.testing import make_cache
from regionspot_train.config import TrainConfig, recipe_or_file
from regionspot_train.data.loader import FeatureLoader
from regionspot_train.data.mixture import Mixture
from regionspot_train.data.sources import open_sources
from regionspot_train.run import run_training

NUMBERS = [
    "steps", "batch_images", "seed", "pieces", "log_every", "checkpoint_every", "keep_checkpoints",
    "data.seed", "data.first_batch", "reading.window_parts", "reading.memory_mib", "head.layers",
    "head.heads", "head.ffn_width", "head.width", "head.image_pooling", "loss.negatives",
    "optimiser.warmup_steps", "validation.every", "validation.patience",
]  # fmt: skip
LARGEST = {
    "batch_images": 2**16, "seed": 2**63 - 1, "pieces": 2**16, "log_every": 10**9,
    "checkpoint_every": 10**9, "keep_checkpoints": 10**6, "data.seed": 2**63 - 1,
    "data.first_batch": 10**9, "reading.window_parts": 10**6, "reading.memory_mib": 2**24,
    "loss.negatives": 10**9, "optimiser.warmup_steps": 10**9, "optimiser.lr": 1e30,
    "optimiser.weight_decay": 1e6, "optimiser.clip_norm": 1e30, "loss.gamma": 100,
    "validation.every": 10**9, "validation.patience": 10**9,
}  # fmt: skip
SMALL = ["steps=1", "head.ffn_width=32", "head.heads=2"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "store"
    make_cache(path, [2, 3, 1, 2])
    return path


@pytest.mark.parametrize("key", NUMBERS)
@pytest.mark.parametrize("number", [10**18, 2**64, 10**40, -1], ids=["1e18", "2^64", "1e40", "-1"])
def test_a_number_out_of_bounds_is_named(key: str, number: int) -> None:
    if number == 10**18 and key.endswith("seed"):
        return
    with pytest.raises(
        ConfigError, match=rf"{key}: (input should be (less|greater) than or|expected a num)"
    ):
        TrainConfig.load(None, [f"{key}={number}"])


@pytest.mark.parametrize(
    "key", ["optimiser.lr", "optimiser.weight_decay", "optimiser.clip_norm", "loss.gamma"]
)
def test_a_rate_that_no_float32_holds(key: str) -> None:
    with pytest.raises(ConfigError, match=rf"{key}: input should be less than or equal"):
        TrainConfig.load(None, [f"{key}=1e300"])


@pytest.mark.parametrize("words", ["[1000000000000]", "[-5]", str([1] * 1_001)])
def test_milestones(words: str) -> None:
    with pytest.raises(ConfigError, match=r"optimiser\.milestones"):
        TrainConfig.load(None, [f"optimiser.milestones={words}"])


@pytest.mark.slow
@pytest.mark.parametrize(("key", "number"), LARGEST.items(), ids=list(LARGEST))
def test_the_largest_that_is_taken_trains(
    store: Path, tmp_path: Path, key: str, number: float
) -> None:
    config = TrainConfig.load(recipe_or_file("demo"), [*SMALL, f"{key}={number}"])
    report = run_training(
        config, store=store, out=tmp_path / "run", validate_on=store, pictured=False
    )
    assert report.steps == 1


def test_a_late_batch_is_reached_at_once(store: Path) -> None:
    """Not by drawing all steps before: at 10⁹ they would be 8 GB."""
    config = TrainConfig.load(recipe_or_file("demo"), [*SMALL, "data.first_batch=1000000000"])
    (batch,) = FeatureLoader(open_sources(store, config.data), config)
    assert batch.regions > 0
    assert_array_equal(Mixture([1.0], seed=0).before(10**9), [10**9])
