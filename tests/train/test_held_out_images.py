"""A share of the images held out of training: never learnt from, and validated on."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from regionspot_core.cache.read.reader import FeatureCache
from regionspot_core.datasets.split import Split
from regionspot_core.errors import ConfigError, InputError
from regionspot_core.heads.cached import embed
from regionspot_core.heads.checkpoint import load_head, read_record
from regionspot_core.heads.trained_on import Training
from regionspot_core.testing import make_cache
from regionspot_train.config import DataConfig, TrainConfig, recipe_or_file
from regionspot_train.data.loader import FeatureLoader
from regionspot_train.data.repeat import repeat_factors
from regionspot_train.data.sources import open_sources
from regionspot_train.run import run_training
from regionspot_train.sweep.run import run_sweep
from regionspot_train.sweep.space import Space

REGIONS = [2, 3, 1, 2, 0, 4, 1, 1, 2, 3, 0, 1]
SETTINGS = [
    "steps=12", "batch_images=3", "log_every=4", "head.ffn_width=32", "head.heads=2",
    "optimiser.warmup_steps=2", "checkpoint_every=6", "validation.every=4", "data.split=0.3",
]  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("split") / "store"
    make_cache(path, REGIONS)
    return path


def config(*overrides: str) -> TrainConfig:
    return TrainConfig.load(recipe_or_file("demo"), [*SETTINGS, *overrides])


def held_out(cache: FeatureCache) -> np.ndarray:
    """Whether each image is, three of the ten with regions."""
    ids = cache.image_ids[cache.region_counts > 0]
    return Split.of(ids, share=0.3, seed=0).held_out(cache.image_ids)


@pytest.mark.parametrize("shuffle", ["full", "windowed"])
def test_held_out_images_are_never_read_to_learn(store: Path, shuffle: str) -> None:
    chosen = config(f"reading.shuffle={shuffle}")
    sources, cache = open_sources(store, chosen.data), FeatureCache(store)
    seen = {int(i) for batch in FeatureLoader(sources, chosen) for i in batch.features.image_ids}
    learnt = (cache.region_counts > 0) & ~held_out(cache)
    assert learnt.sum() == 7
    assert seen == set(cache.image_ids[learnt].tolist())


def naive_top1(run: Path, cache: FeatureCache, held: np.ndarray) -> float:
    """Share of the held-out images' regions that the head names rightly, an image at a time."""
    head, bank, right = load_head(run), cache.class_bank(), []
    for index in np.flatnonzero(held & (cache.region_counts > 0)):
        batch = cache.read([index])
        with torch.no_grad():
            embedded, mask = embed(head, batch, cache.plan.keep.sam_tokens, torch.device("cpu"))
            logits = head.logits(embedded, torch.from_numpy(bank.embeddings), bank.logit_scale)
        right += (logits.argmax(-1) == batch.classes)[mask].tolist()
    return sum(right) / len(right)


def test_they_are_what_the_run_is_validated_on(
    store: Path, tmp_path: Path, regionspot: Callable[..., tuple[int, str, str]]
) -> None:
    """And the head's record says which they are."""
    cache = FeatureCache(store)
    held = held_out(cache)
    words = ["train", "fit", "--cache", str(store), "--out", str(tmp_path / "run")]
    words += ["--config", "demo", "--split", "0.3"]
    done = regionspot(*words, *(f"--set={each}" for each in SETTINGS[:-1]))
    assert done[0] == 0, done[2]
    regions = cache.region_counts[held].sum()
    said = f"validating on 3 images with {regions} regions: top-1 may be {0.5 / regions**0.5:.0%}"
    assert said in done[2]
    lines = (tmp_path / "run/validation.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [4, 8, 12]
    assert json.loads(lines[-1])["top1"] == naive_top1(tmp_path / "run", cache, held)
    place, classes = cache.region_classes()

    training = read_record(tmp_path / "run" / "best").training
    (kept,) = Training.of(training).caches or ()
    assert kept.split is not None
    assert kept.split.held_out(cache.image_ids).tolist() == held.tolist()
    names = cache.vocabulary.names
    learnt = np.bincount(classes[~held[place]], minlength=len(names))
    assert read_record(tmp_path / "run").training_counts() == dict(
        zip(names, learnt.tolist(), strict=True)
    )
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert run["validation"]["dataset"]["images"] == 3
    assert run["caches"][0]["images"] == 7
    assert run["caches"][0]["regions"] == learnt.sum()


def test_repeat_factors_are_of_the_images_that_are_learnt_from(store: Path) -> None:
    data = DataConfig(split=0.3, repeat_threshold=0.5)
    (source,), cache = open_sources(store, data), FeatureCache(store)
    learnt = np.flatnonzero(~held_out(cache))
    place, classes = cache.region_classes()
    own = np.isin(place, learnt)
    expected = repeat_factors(
        np.searchsorted(learnt, place[own]), classes[own], images=len(learnt), threshold=0.5
    )
    assert source.repeat is not None
    assert source.repeat.tolist() == expected[cache.region_counts[learnt] > 0].tolist()


def test_a_sweep_compares_its_heads_on_them(store: Path, tmp_path: Path) -> None:
    space = Space.parse({"space": {"seed": [1, 2]}}, source="test")
    report = run_sweep(config(), space, store=store, out=tmp_path / "sweep", trials=2)
    assert report.states == {"finished": 2}
    splits = [
        read_record(tmp_path / "sweep/trials" / n).training["caches"][0]["split"]
        for n in ("0000", "0001")
    ]
    assert splits[0] == splits[1]  # whatever the seed of the head


@pytest.mark.parametrize(
    ("stores", "val", "split", "error", "message"),
    [
        (2, False, "0.3", ConfigError, "a split is of one cache, got 2"),
        (1, True, "0.3", ConfigError, "--val and --split .* both say what to validate on"),
        (1, False, "0.96", InputError, "leaves none to learn from"),
    ],
)
def test_splits_that_mean_nothing_are_refused(
    store: Path, tmp_path: Path, stores: int, val: bool, split: str,
    error: type[Exception], message: str,
) -> None:  # fmt: skip
    with pytest.raises(error, match=message):
        run_training(
            config(f"data.split={split}"),
            store=[store] * stores,
            out=tmp_path / "run",
            validate_on=store if val else None,
        )
    assert not (tmp_path / "run").exists()


def test_a_sweep_without_images_to_compare_on_is_refused(store: Path, tmp_path: Path) -> None:
    space = Space.parse({"space": {"seed": [1, 2]}}, source="test")
    with pytest.raises(ConfigError, match="give --val a store, or --split"):
        run_sweep(config("data.split=none"), space, store=store, out=tmp_path / "s", trials=2)
