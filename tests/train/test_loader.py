"""Batches: every image once an epoch, in an order that the seed alone decides."""

import threading
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regionspot_core.cache.reader import FeatureCache
from regionspot_core.errors import CacheDamagedError
from regionspot_core.testing import make_cache, shard_path
from regionspot_train.loader import FeatureLoader, batch_order


@given(count=st.integers(1, 50), size=st.integers(1, 60), seed=st.integers(0, 5))
def test_an_epoch_has_no_image_twice(count: int, size: int, seed: int) -> None:
    images = np.arange(count) * 3
    batches = list(islice(batch_order(images, batch_images=size, seed=seed), 3 * count))
    per_epoch = count // min(size, count)
    for epoch in range(2):
        seen = np.concatenate(batches[epoch * per_epoch : (epoch + 1) * per_epoch])
        assert len(set(seen.tolist())) == len(seen)
        assert set(seen.tolist()) <= set(images.tolist())
        assert count - len(seen) < min(size, count)


def test_the_seed_decides_the_order_and_epochs_differ() -> None:
    def first(seed: int, batches: int) -> list[list[int]]:
        order = batch_order(np.arange(64), batch_images=32, seed=seed)
        return [batch.tolist() for batch in islice(order, batches)]

    assert first(0, 4) == first(0, 4)
    assert first(0, 2) != first(1, 2)
    assert first(0, 4)[:2] != first(0, 4)[2:]


def test_images_without_regions_are_left_out(tmp_path: Path) -> None:
    annotations = make_cache(tmp_path / "s", [2, 0, 3, 0, 1])
    loader = FeatureLoader(FeatureCache(tmp_path / "s"), batch_images=3, seed=0, steps=4)
    batches = list(loader)
    assert len(batches) == 4
    wanted = sorted(annotations.image_id[[0, 2, 4]].tolist())
    assert all(sorted(batch.image_ids.tolist()) == wanted for batch in batches)
    assert all(batch.mask.any(1).all() for batch in batches)


def test_a_damaged_chunk_reaches_the_consumer(tmp_path: Path) -> None:
    make_cache(tmp_path / "s", [1] * 8)
    path = shard_path(tmp_path / "s", "clip/tokens", 1)
    content = bytearray(path.read_bytes())
    content[3] ^= 16
    path.write_bytes(content)
    loader = FeatureLoader(FeatureCache(tmp_path / "s"), batch_images=8, seed=0, steps=2)
    with pytest.raises(CacheDamagedError):
        list(loader)


def test_leaving_early_ends_the_thread(tmp_path: Path) -> None:
    make_cache(tmp_path / "s", [1] * 8)
    loader = FeatureLoader(FeatureCache(tmp_path / "s"), batch_images=2, seed=0, steps=1000)
    batches = iter(loader)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert "feature-loader" not in [thread.name for thread in threading.enumerate()]
