"""The head's options in a run: what the head is given of a batch, and what a cache must keep."""

from pathlib import Path

import numpy as np
import pytest
import torch

from regionspot_core.cache.layout.keep import Keep
from regionspot_core.cache.read.reader import FeatureCache
from regionspot_core.errors import ConfigError, InputError
from regionspot_core.heads.cached import embed
from regionspot_core.heads.checkpoint import load_head
from regionspot_core.testing import SHAPE, make_cache
from regionspot_train.config import TrainConfig, recipe_or_file
from regionspot_train.forecast import forecast
from regionspot_train.learning.learner import head_shape
from regionspot_train.run import TrainReport, run_training

COUNTS = [2, 3, 1, 2, 0, 4]
CPU = torch.device("cpu")
SETTINGS = [
    "steps=250", "batch_images=4", "head.ffn_width=32", "head.heads=2", "head.dropout=0",
    "optimiser.lr=0.003", "optimiser.warmup_steps=5", "validation.every=250",
]  # fmt: skip
ALL = [
    "head.region_tokens=all", "head.box_geometry=true", "head.image_positions=learned",
    "head.image_pooling=2", "head.shared_keys=true", "head.width=8",
]  # fmt: skip


def settings(*overrides: str) -> TrainConfig:
    return TrainConfig.load(recipe_or_file("demo"), [*SETTINGS, *overrides])


def fit(store: Path, out: Path, *overrides: str, validate_on: Path | None = None) -> TrainReport:
    config = settings(*overrides)
    return run_training(config, store=store, out=out, validate_on=validate_on, pictured=False)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stores") / "store"
    make_cache(path, COUNTS, keep=Keep(flip=True))
    return path


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that keeps only the paper's token."""
    path = tmp_path_factory.mktemp("papers") / "papers"
    make_cache(path, COUNTS, keep=Keep(sam_tokens="paper"))
    return path


@pytest.mark.parametrize(
    "options",
    [
        ALL,
        pytest.param(
            ["head.region_tokens=masks", "head.image_positions=sincos"], marks=pytest.mark.slow
        ),
    ],
    ids=str,
)
def test_a_head_with_options_learns_by_heart_and_comes_back(
    store: Path, tmp_path: Path, options: list[str]
) -> None:
    report = fit(store, tmp_path / "run", *options, validate_on=store)
    assert report.best is not None
    assert report.best.top1 == 1.0
    assert report.parameters == forecast(settings(*options), store).parameters
    cache, head = FeatureCache(store), load_head(tmp_path / "run")
    batch, bank = cache.read(range(len(cache))), cache.class_bank()
    with torch.inference_mode():
        embedded, mask = embed(head, batch, "all", CPU)
    said = head.logits(embedded, torch.from_numpy(bank.embeddings), bank.logit_scale).argmax(-1)
    assert torch.equal(said[mask], batch.classes[mask])


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_head_is_given_the_boxes_of_the_view(store: Path, tmp_path: Path, mirrored: bool) -> None:
    fit(store, tmp_path / "run", "head.box_geometry=true", "steps=2")
    cache, head = FeatureCache(store), load_head(tmp_path / "run")
    batch = cache.read([0, 1], flipped=np.full(2, mirrored))
    sizes = cache.stores[0].small["image/size"][:2]
    assert batch.image_sizes.tolist() == sizes.tolist()
    boxes = batch.boxes.clone()
    for image, (height, width) in enumerate(sizes.tolist()):
        boxes[image, :, [0, 2]] /= width
        boxes[image, :, [1, 3]] /= height
    assert boxes.max() <= 1
    with torch.inference_mode():
        found, _ = embed(head, batch, "all", CPU)
        tokens = batch.region_tokens[:, :, 1].float(), batch.image_tokens.float()
        expected = head(*tokens, batch.mask, boxes)
    torch.testing.assert_close(found[batch.mask], expected[batch.mask])


@pytest.mark.parametrize("choice", ["masks", "all"])
def test_tokens_that_were_not_kept_are_refused_before_the_first_step(
    store: Path, papers: Path, tmp_path: Path, choice: str
) -> None:
    message = f"papers keeps only the paper's token of each region, and head.region_tokens={choice}"
    for train_on, validate_on in ((papers, None), (store, papers)):
        with pytest.raises(InputError, match=message):
            fit(train_on, tmp_path / "run", f"head.region_tokens={choice}", validate_on=validate_on)
    with pytest.raises(InputError, match=message):
        forecast(settings(f"head.region_tokens={choice}"), papers)
    assert not (tmp_path / "run").exists()


def test_the_papers_token_alone_is_enough_for_the_papers_head(
    store: Path, papers: Path, tmp_path: Path
) -> None:
    fit(papers, tmp_path / "run", "steps=2", validate_on=store)
    assert load_head(tmp_path / "run").config.region_token_count == 1


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("head.image_pooling=3", "image_pooling=3 does not divide CLIP's grid of 2 × 2 patches"),
        ("head.width=7", "width must be a multiple of heads, got 7 and 2"),
    ],
)
def test_options_that_the_cache_does_not_fit_are_refused(
    store: Path, tmp_path: Path, option: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        fit(store, tmp_path / "run", option)
    assert not (tmp_path / "run").exists()


def test_the_head_knows_the_shapes_of_the_cache(store: Path) -> None:
    cache = FeatureCache(store)
    config = head_shape(settings(*ALL), cache, cache.class_bank())
    assert config.region_token_count == SHAPE.region_tokens
    assert config.image_tokens == SHAPE.image_tokens
    assert config.inner_width == 8


def test_a_forecast_counts_what_the_head_is_given(store: Path) -> None:
    """Four images of 5 × 16 image tokens; of 2.4 regions, the mean, three tokens of 8 and a box."""
    found = forecast(settings(*ALL), store)
    assert found.batch_bytes == int(4 * 4 * (5 * 16 + 2.4 * (3 * 8 + 4)))
