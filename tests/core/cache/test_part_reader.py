"""Batches from whole parts are those of reading image by image, with one read a part."""

import threading
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from regionspot_core.cache.read.batch import FeatureBatch
from regionspot_core.cache.read.order import BatchOrder
from regionspot_core.cache.read.part_reader import PartReader
from regionspot_core.cache.read.reader import FeatureCache
from regionspot_core.errors import CacheDamagedError, InputError
from regionspot_core.testing import make_cache, shard_path

PART = 4
COUNTS = [2, 0, 3, 1, 1, 5, 0, 0, 2, 1, 1, 4, 1, 1, 1, 2, 1, 3, 0, 2, 6, 1]
FAILED = [5, 12]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> FeatureCache:
    store = tmp_path_factory.mktemp("cache") / "s"
    make_cache(store, COUNTS, part_images=PART, failed=FAILED)
    return FeatureCache(store)


PART_OF = np.array([i // PART for i in range(len(COUNTS)) if i not in FAILED])


def test_the_cache_says_the_same_of_its_parts(cache: FeatureCache) -> None:
    assert np.array_equal(cache.part_of, PART_OF)


def make_order(
    batch: int = 3, window: int = 2, seed: int = 0, every: int = 1, shuffle: str = "windowed"
) -> BatchOrder:
    images = np.arange(0, len(PART_OF), every)
    return BatchOrder(
        images=images,
        batch_images=batch,
        seed=seed,
        shuffle=shuffle,  # type: ignore[arg-type]
        part_of=PART_OF[images],
        window_parts=window,
    )


def assert_same(batch: FeatureBatch, wanted: FeatureBatch) -> None:
    for name, value in vars(wanted).items():
        got = getattr(batch, name)
        assert got.dtype == value.dtype, name
        assert torch.equal(got, value), name


def plainly(cache: FeatureCache) -> Callable[[NDArray[np.int64], int], FeatureBatch]:
    """Reads the same view in every epoch."""
    return lambda indices, epoch: cache.read(indices)


@settings(max_examples=60)
@given(
    batch=st.integers(1, 30),
    window=st.integers(1, 8),
    seed=st.integers(0, 3),
    every=st.integers(1, 5),
    start=st.integers(0, 40),
)
def test_batches_are_those_of_reading_image_by_image(
    cache: FeatureCache, batch: int, window: int, seed: int, every: int, start: int
) -> None:
    order = make_order(batch, window, seed, every)
    served = PartReader(plainly(cache), order).batches(start)
    for indices, got in zip(islice(order.batches(start), 12), served, strict=False):
        assert_same(got, cache.read(indices))
    served.close()


def test_each_part_is_read_once_an_epoch_in_one_run(cache: FeatureCache) -> None:
    runs: list[NDArray[np.int64]] = []

    def read(indices: NDArray[np.int64], epoch: int) -> FeatureBatch:
        runs.append(indices)
        return cache.read(indices)

    order = make_order(batch=2)
    served = PartReader(read, order).batches()
    for _ in range(order.epoch_batches):
        next(served)
    served.close()
    parts = [set(PART_OF[run].tolist()) for run in runs]
    assert all((np.diff(run) == 1).all() for run in runs)
    assert all(len(part) == 1 for part in parts)
    first_epoch = [part.pop() for part in parts][: len(set(PART_OF))]
    assert sorted(first_epoch) == sorted(set(PART_OF.tolist()))
    assert len(runs) <= 6 + 2 * 2  # the next epoch's first two windows at most


def test_no_more_than_two_windows_are_read_ahead(cache: FeatureCache) -> None:
    read_parts: list[int] = []

    def read(indices: NDArray[np.int64], epoch: int) -> FeatureBatch:
        read_parts.append(int(PART_OF[indices[0]]))
        return cache.read(indices)

    order = make_order(batch=2, window=1)
    served = PartReader(read, order).batches()
    used = set()
    for indices, _ in zip(islice(order.batches(), order.epoch_batches), served, strict=False):
        used |= set(PART_OF[indices].tolist())
        assert len(read_parts) <= len(used) + 1
    served.close()


def test_the_next_window_is_read_while_one_is_served(cache: FeatureCache) -> None:
    second = threading.Event()
    calls: list[int] = []

    def read(indices: NDArray[np.int64], epoch: int) -> FeatureBatch:
        calls.append(len(indices))
        if len(calls) == 2:
            second.set()
        return cache.read(indices)

    served = PartReader(read, make_order(batch=1, window=1)).batches()
    next(served)
    assert second.wait(10)
    served.close()
    assert "part-reader_0" not in [thread.name for thread in threading.enumerate()]


def test_damage_is_raised_where_its_window_is_due(tmp_path: Path) -> None:
    make_cache(tmp_path / "s", [1] * 8, part_images=4)
    path = shard_path(tmp_path / "s", "clip/tokens", 1)
    content = bytearray(path.read_bytes())
    content[3] ^= 16
    path.write_bytes(content)
    cache = FeatureCache(tmp_path / "s")
    order = BatchOrder(
        images=np.arange(8), batch_images=2, seed=0, shuffle="windowed",
        part_of=np.arange(8) // 4, window_parts=1,
    )  # fmt: skip
    sound = [not (batch >= 4).any() for batch in islice(order.batches(), 4)]
    served = PartReader(plainly(cache), order).batches()
    for _ in range(sound.index(False)):
        next(served)
    with pytest.raises(CacheDamagedError, match="part 1"):
        next(served)


def test_a_full_shuffle_is_refused(cache: FeatureCache) -> None:
    with pytest.raises(InputError, match="needs a windowed order, got shuffle 'full'"):
        PartReader(plainly(cache), make_order(shuffle="full"))


def test_a_read_is_told_its_epoch(cache: FeatureCache) -> None:
    order, told = make_order(batch=4), []

    def read(indices: NDArray[np.int64], epoch: int) -> FeatureBatch:
        told.append(epoch)
        return cache.read(indices)

    served = PartReader(read, order).batches()
    for _ in range(2 * order.epoch_batches):
        next(served)
    served.close()
    parts = len(set(PART_OF))
    assert told[: 2 * parts] == [0] * parts + [1] * parts
