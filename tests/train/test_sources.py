"""Several caches in one run: mixed by weight, each with its classes; rare images repeated."""

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regionspot_core.cache.layout.keep import Keep
from regionspot_core.cache.layout.schema import CLASS_BANK
from regionspot_core.cache.read.reader import FeatureCache
from regionspot_core.cache.storage.markers import read_plan_files, write_plan_files
from regionspot_core.cache.storage.store import open_store
from regionspot_core.datasets.vocabulary import Vocabulary
from regionspot_core.errors import CacheError, ConfigError, FingerprintError
from regionspot_core.support.checksums import FileSum
from regionspot_core.testing import make_bank, make_cache
from regionspot_core.text.class_bank import ClassBank
from regionspot_train.config import DataConfig, TrainConfig, recipe_or_file
from regionspot_train.data.loader import FeatureLoader
from regionspot_train.data.mixture import BLOCK, Mixture
from regionspot_train.data.repeat import repeat_factors
from regionspot_train.data.sources import open_sources
from regionspot_train.data.views import Views
from regionspot_train.run import run_training

WAYS = pytest.mark.parametrize("shuffle", ["full", "windowed"])


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("stores")
    make_cache(folder / "a", [2, 3, 1, 0, 4, 1], seed=1)
    make_cache(folder / "b", [1] * 12, seed=2)
    return [folder / "a", folder / "b"]


def config(*overrides: str) -> TrainConfig:
    return TrainConfig.load(recipe_or_file("demo"), [
        "steps=40", "batch_images=2", "log_every=10", "head.ffn_width=32", "head.heads=2",
        *overrides,
    ])  # fmt: skip


@given(
    st.lists(st.floats(0.1, 5), min_size=1, max_size=4),
    st.integers(0, 3 * BLOCK),
    st.integers(0, 9),
)
def test_any_step_of_a_mixture_is_reached_directly(
    weights: list[float], start: int, seed: int
) -> None:
    mixture = Mixture(weights, seed)
    whole = list(islice(mixture.steps(), start + 5))
    assert list(islice(mixture.steps(start), 5)) == whole[start:]
    assert mixture.before(start).tolist() == [whole[:start].count(n) for n in range(len(weights))]


def test_a_mixture_has_its_weights() -> None:
    drawn = np.array(list(islice(Mixture([3, 1], seed=0).steps(), 8_000)))
    assert drawn.mean() == pytest.approx(0.25, abs=0.02)


def test_repeat_factors_by_hand() -> None:
    """Class 0 is in all 4 images, class 1 in two, class 2 in one: sqrt(0.64 / share)."""
    image = np.array([0, 0, 1, 1, 2, 3, 3])
    classes = np.array([0, 0, 0, 1, 0, 0, 1])
    found = repeat_factors(image, classes, images=4, threshold=0.64)
    assert found == pytest.approx([1, 1.28**0.5, 1, 1.28**0.5])
    found = repeat_factors(np.append(image, 0), np.append(classes, 2), images=4, threshold=0.64)
    assert found == pytest.approx([1.6, 1.28**0.5, 1, 1.28**0.5])


@WAYS
def test_batches_are_of_one_cache_each_and_resume_anywhere(
    stores: list[Path], shuffle: str
) -> None:
    sources = open_sources(stores, DataConfig())
    assert [source.weight for source in sources] == [5, 12]
    settings = config(f"reading.shuffle={shuffle}", "reading.window_parts=1")
    ids = [
        set(FeatureCache(store).read(range(6)).annotation_ids.flatten().tolist())
        for store in stores
    ]

    def batches(start: int) -> list[tuple[int, list[int]]]:
        loader = FeatureLoader(sources, settings, start_step=start)
        return [(each.source, each.features.image_ids.tolist()) for each in loader]

    whole = batches(0)
    assert len(whole) == 40
    assert {source for source, _ in whole} == {0, 1}
    assert batches(17) == whole[17:]
    skipped = replace_data(settings, first_batch=17)
    assert [
        (each.source, each.features.image_ids.tolist())
        for each in islice(FeatureLoader(sources, skipped), 23)
    ] == whole[17:]
    assert ids[0]


def replace_data(settings: TrainConfig, **values: object) -> TrainConfig:
    data = settings.data.to_json() | values
    return TrainConfig.parse(settings.to_json() | {"data": data}, source="test")


@WAYS
def test_views_are_drawn_anew_each_epoch(tmp_path: Path, shuffle: str) -> None:
    make_cache(tmp_path / "s", [1] * 16, keep=Keep(jitter=2, flip=True))
    sources = open_sources(tmp_path / "s", DataConfig(jitter=True, flip=True))
    settings = config(
        "steps=16", "batch_images=8", "data.jitter=true", "data.flip=true",
        f"reading.shuffle={shuffle}", "reading.window_parts=1",
    )  # fmt: skip
    cache, seen = sources[0].cache, [set() for _ in range(16)]
    views = [
        cache.read(range(16), flipped=np.full(16, flipped), copy=np.full(16, copy))
        for flipped in (False, True)
        for copy in range(3)
    ]
    place = {int(image): n for n, image in enumerate(views[0].image_ids)}
    for step, batch in enumerate(FeatureLoader(sources, settings)):
        for row, image in enumerate(batch.features.image_ids.tolist()):
            n = place[image]
            match = [
                v
                for v, view in enumerate(views)
                if (view.region_tokens[n, 0] == batch.features.region_tokens[row, 0]).all()
                and (view.boxes[n, 0] == batch.features.boxes[row, 0]).all()
            ]
            assert len(match) == 1
            seen[n].add((step // 2, match[0]))
    drawn = [view for each in seen for _, view in each]
    assert {len({epoch for epoch, _ in each}) for each in seen} == {8}
    assert set(drawn) == set(range(6))


def test_views_are_the_same_for_the_same_epoch(tmp_path: Path) -> None:
    make_cache(tmp_path / "s", [1] * 8, keep=Keep(jitter=2))
    cache = FeatureCache(tmp_path / "s")
    boxes = [
        Views(cache, seed=3, jitter=True, flip=False).read(np.arange(8), epoch).boxes
        for epoch in (0, 1, 0)
    ]
    assert (boxes[0] == boxes[2]).all()
    assert not (boxes[0] == boxes[1]).all()


def test_a_run_on_two_caches(stores: list[Path], tmp_path: Path) -> None:
    run_training(
        config("data.repeat_threshold=0.5", "loss.negatives=2"), store=stores, out=tmp_path / "run"
    )
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert set(record["data"]["datasets"]) == {"0", "1"}


def wrong(stores: Sequence[Path], data: DataConfig) -> str:
    with pytest.raises((CacheError, ConfigError, FingerprintError)) as caught:
        open_sources(list(stores), data)
    return str(caught.value)


def test_what_does_not_fit_is_refused(stores: list[Path], tmp_path: Path) -> None:
    assert "at least one --cache" in wrong([], DataConfig())
    assert "a number for each of 2 caches, got 1" in wrong(stores, DataConfig(weights=(1,)))
    assert "numbers above 0, got [1.0, 0.0]" in wrong(stores, DataConfig(weights=(1, 0)))
    assert "extract it with --jitter" in wrong(stores, DataConfig(jitter=True))
    assert "extract it with --flip" in wrong(stores, DataConfig(flip=True))
    make_cache(tmp_path / "paper", [1, 1], keep=Keep(sam_tokens="paper"))
    assert "sam_tokens: expected all, found paper" in wrong(
        [*stores, tmp_path / "paper"], DataConfig()
    )
    bank = FeatureCache(stores[1]).class_bank()
    make_cache(tmp_path / "clip", [1] * 12, seed=2)
    give_bank(tmp_path / "clip", replace(bank, clip={"name": "other"}))
    both = [stores[0], tmp_path / "clip"]
    assert "its class embeddings are of another CLIP" in wrong(both, DataConfig())
    make_cache(tmp_path / "few", [1] * 12, seed=2)
    names = Vocabulary.from_names(bank.vocabulary.names[:2])
    give_bank(tmp_path / "few", make_bank(names))
    refused = wrong([tmp_path / "few"], DataConfig())
    assert "expected classes of 0 … 1, its vocabulary's, found 0 … 5" in refused


def give_bank(store: Path, bank: ClassBank) -> None:
    """Put another bank in a store's, with the sums that it then has."""
    bank.save(store / CLASS_BANK)
    opened = open_store(store)
    sum_ = FileSum.of(opened.blocks(CLASS_BANK))
    write_plan_files(opened, read_plan_files(opened) | {CLASS_BANK: sum_})
