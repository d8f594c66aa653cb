"""Rows straight from shard files are those that TensorStore reads, and damage is never returned."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from regionspot_core.cache.layout.keep import Keep
from regionspot_core.cache.layout.schema import part_arrays
from regionspot_core.cache.read.local_array import LocalArray
from regionspot_core.cache.storage.arrays import begin_open, read_attributes, read_plan
from regionspot_core.cache.storage.store import open_store
from regionspot_core.testing import make_cache, shard_path

COUNTS = [3, 0, 20, 1, 9, 30, 2, 2, 5, 11]
NAMES = ["clip/tokens", "clip/scale", "region/tokens", "region/scale", "region/iou"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("local") / "s"
    make_cache(folder, COUNTS, keep=Keep(dtype="int8"), part_images=4)
    return folder


def open_local(store: Path, name: str, **options: int) -> LocalArray:
    opened = open_store(store)
    array = part_arrays(read_plan(opened, read_attributes(opened)))[name]
    return LocalArray(store, array, **options)


def written_rows(store: Path, name: str) -> NDArray[np.int64]:
    opened = open_store(store)
    plan = read_plan(opened, read_attributes(opened))
    return plan.region_rows if name.startswith("region/") else np.arange(plan.image_count)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40)
@given(picks=st.lists(st.integers(0, 10**6), max_size=60))
def test_rows_are_those_that_tensorstore_reads(store: Path, name: str, picks: list[int]) -> None:
    written = written_rows(store, name)
    rows = written[np.array(picks, dtype=np.int64) % len(written)]
    wanted = np.asarray(begin_open(open_store(store), name).result()[rows].read().result())
    found = open_local(store, name).begin(rows).result()
    assert found.dtype == wanted.dtype
    assert np.array_equal(found, wanted)
    assert found.flags.writeable


@pytest.mark.parametrize("name", ["clip/tokens", "clip/scale"])
def test_blocks_are_the_rows_in_pieces(store: Path, name: str) -> None:
    rows = np.array([3, 4, 5, 1, 9, 0])
    pending = open_local(store, name).begin(rows)
    assert pending.in_order
    out = np.zeros(pending.shape, pending.result().dtype)
    for place, values in pending.blocks():
        out[place] = values
    assert np.array_equal(out, pending.result())
    assert not open_local(store, "region/tokens").begin(np.array([0])).in_order


def test_long_runs_are_cut(tmp_path: Path) -> None:
    """A system call takes 1,024 buffers at most, and a chunk has two."""
    make_cache(tmp_path / "s", [1] * 1_100, part_images=1_000)
    rows = np.arange(1_100)
    whole = begin_open(open_store(tmp_path / "s"), "clip/tokens").result()[rows].read().result()
    pending = open_local(tmp_path / "s", "clip/tokens").begin(rows)
    assert np.array_equal(pending.result(), np.asarray(whole))
    together = [len(values) for _, values in pending.blocks()]
    assert sum(together) == 1_100
    assert max(together) <= 512


def test_files_are_closed_again(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[int] = []
    close = os.close
    monkeypatch.setattr(os, "close", lambda file: (closed.append(file), close(file)))
    array = open_local(store, "clip/tokens", open_files=1)
    pending = array.begin(np.arange(len(COUNTS)))
    assert closed == []  # three shards, and all are needed still
    pending.result()
    del pending
    assert len(closed) == 2
    del array
    assert len(closed) == 3


@pytest.mark.parametrize("name", ["clip/tokens", "region/tokens"])
def test_every_flipped_byte_is_found_by_who_reads_it(tmp_path: Path, name: str) -> None:
    make_cache(tmp_path / "s", [2, 3], part_images=2)
    path = shard_path(tmp_path / "s", name, 0)
    sound = path.read_bytes()
    rows = written_rows(tmp_path / "s", name)
    wanted = open_local(tmp_path / "s", name).begin(rows).result()
    for place in range(0, len(sound), 7):
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 4]) + sound[place + 1 :])
        with pytest.raises(ValueError, match="checksum"):
            open_local(tmp_path / "s", name).begin(rows).result()
    path.write_bytes(sound)
    assert np.array_equal(open_local(tmp_path / "s", name).begin(rows).result(), wanted)


@pytest.mark.parametrize("left", [0, 3, 100, -1])
def test_a_file_cut_off_is_found(tmp_path: Path, left: int) -> None:
    make_cache(tmp_path / "s", [2, 3], part_images=2)
    path = shard_path(tmp_path / "s", "clip/tokens", 0)
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(ValueError, match="checksum"):
        open_local(tmp_path / "s", "clip/tokens").begin(np.array([1]))


def test_a_file_cut_off_after_it_was_opened_is_found(tmp_path: Path) -> None:
    make_cache(tmp_path / "s", [2, 3], part_images=2)
    pending = open_local(tmp_path / "s", "clip/tokens").begin(np.array([0, 1]))
    os.truncate(shard_path(tmp_path / "s", "clip/tokens", 0), 200)
    with pytest.raises(ValueError, match="expected 328 bytes at 0, found 200"):
        pending.result()


def test_what_was_never_written_is_not_zeros(store: Path, tmp_path: Path) -> None:
    array = open_local(store, "region/tokens")
    unused = np.setdiff1d(np.arange(array.array.shape[0]), written_rows(store, "region/tokens"))
    with pytest.raises(ValueError, match="a chunk is missing"):
        array.begin(unused[-1:])
    make_cache(tmp_path / "s", [2, 3], part_images=2)
    shard_path(tmp_path / "s", "clip/tokens", 0).unlink()
    with pytest.raises(FileNotFoundError):
        open_local(tmp_path / "s", "clip/tokens").begin(np.array([0]))
