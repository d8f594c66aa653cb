"""The batches of training; their order and reading ahead have tests of their own in core."""

import threading
from pathlib import Path

import pytest
import torch

from regionspot_core.errors import CacheDamagedError
from regionspot_core.testing import make_cache, shard_path
from regionspot_train.config import DataConfig, ReadingConfig, TrainConfig
from regionspot_train.data.loader import FeatureLoader
from regionspot_train.data.sources import open_sources

WAYS = pytest.mark.parametrize(
    "reading",
    [ReadingConfig(), ReadingConfig(shuffle="windowed", window_parts=1)],
    ids=lambda reading: reading.shuffle,
)
THREADS = ("read-ahead", "part-reader_0")


def load(
    store: Path, reading: ReadingConfig, *, start_step: int = 0, **settings: int
) -> FeatureLoader:
    config = TrainConfig.parse({"seed": 0, "reading": reading, **settings}, source="test")
    return FeatureLoader(open_sources(store, DataConfig()), config, start_step=start_step)


@WAYS
def test_images_without_regions_are_left_out(tmp_path: Path, reading: ReadingConfig) -> None:
    annotations = make_cache(tmp_path / "s", [2, 0, 3, 0, 1])
    loader = load(tmp_path / "s", reading, batch_images=3, steps=4)
    batches = list(loader)
    assert len(batches) == 4
    wanted = sorted(annotations.image_id[[0, 2, 4]].tolist())
    assert all(sorted(batch.features.image_ids.tolist()) == wanted for batch in batches)
    assert all(batch.features.mask.any(1).all() for batch in batches)


@WAYS
def test_starting_at_a_step_drops_the_steps_before_it(
    tmp_path: Path, reading: ReadingConfig
) -> None:
    make_cache(tmp_path / "s", [2, 0, 3, 0, 1, 1, 1, 1, 2, 2], failed=[2])

    def batches(start_step: int) -> list[list[int]]:
        loader = load(
            tmp_path / "s", reading, batch_images=2, seed=1, steps=9, start_step=start_step
        )
        return [batch.features.image_ids.tolist() for batch in loader]

    assert len(batches(0)) == 9
    assert batches(5) == batches(0)[5:]
    assert batches(9) == []


def test_both_shuffles_give_the_same_images_an_epoch(tmp_path: Path) -> None:
    make_cache(tmp_path / "s", [1, 2, 1, 1, 3, 1, 1, 1])

    def epoch(shuffle: str) -> torch.Tensor:
        reading = ReadingConfig.parse({"shuffle": shuffle, "window_parts": 1}, source="test")
        loader = load(tmp_path / "s", reading, batch_images=4, steps=2)
        return torch.cat([batch.features.image_ids for batch in loader])

    assert not torch.equal(epoch("full"), epoch("windowed"))
    assert torch.equal(epoch("full").sort().values, epoch("windowed").sort().values)


@WAYS
def test_a_damaged_chunk_reaches_the_consumer(tmp_path: Path, reading: ReadingConfig) -> None:
    make_cache(tmp_path / "s", [1] * 8)
    path = shard_path(tmp_path / "s", "clip/tokens", 1)
    content = bytearray(path.read_bytes())
    content[3] ^= 16
    path.write_bytes(content)
    loader = load(tmp_path / "s", reading, batch_images=8, steps=2)
    with pytest.raises(CacheDamagedError):
        list(loader)


@WAYS
def test_leaving_early_ends_the_thread(tmp_path: Path, reading: ReadingConfig) -> None:
    make_cache(tmp_path / "s", [1] * 8)
    loader = load(tmp_path / "s", reading, batch_images=2, steps=1000)
    batches = iter(loader)
    next(batches)
    batches.close()
    assert not {thread.name for thread in threading.enumerate()} & set(THREADS)
