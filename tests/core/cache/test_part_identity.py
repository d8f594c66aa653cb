"""A part's files are known by what its marker says of them, not only by their own checksums."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from regionspot_core.cache.layout.keep import Keep
from regionspot_core.cache.layout.schema import part_arrays
from regionspot_core.cache.layout.shards import Pieces
from regionspot_core.cache.maintenance.survey import survey_store
from regionspot_core.cache.maintenance.verify import Verification, checks, verify
from regionspot_core.cache.maintenance.zip_file import ZipExport, ZipFileStore
from regionspot_core.cache.maintenance.zip_import import import_of
from regionspot_core.cache.read.reader import FeatureCache
from regionspot_core.cache.storage.arrays import read_header
from regionspot_core.cache.storage.markers import (
    COMPLETE,
    marker_key,
    read_markers,
    write_complete,
    write_marker,
)
from regionspot_core.cache.storage.store import FolderStore, Store, open_store
from regionspot_core.errors import CacheDamagedError
from regionspot_core.testing import files_of, make_cache, shard_path

COUNTS = [3] * 8
"""All parts' files are of one size."""
KEEP = Keep(dtype="int8", jitter=2, flip=True)


class Elsewhere(Store):
    """A folder that is read as a store at a URL is: through TensorStore."""

    def __init__(self, folder: Path) -> None:
        self._folder = FolderStore(folder)
        self.asked: list[str] = []

    @property
    def name(self) -> str:
        return self._folder.name

    def read(self, key: str) -> bytes | None:
        self.asked.append(key)
        return self._folder.read(key)

    def read_many(self, keys: Sequence[str]) -> list[bytes | None]:
        return [self.read(key) for key in keys]

    def write(self, key: str, pieces: Pieces) -> None:
        self._folder.write(key, pieces)

    def write_many(self, files: Mapping[str, Pieces]) -> None:
        self._folder.write_many(files)

    def delete(self, key: str) -> None:
        self._folder.delete(key)

    def keys(self) -> list[str]:
        return self._folder.keys()

    def blocks(self, key: str) -> Iterator[bytes]:
        return self._folder.blocks(key)

    def kvstore(self, key: str) -> dict[str, Any]:
        return self._folder.kvstore(key)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("identity") / "store"
    make_cache(path, COUNTS, keep=KEEP, part_images=2)
    return path


@pytest.fixture
def store(written: Path, tmp_path: Path) -> Path:
    return shutil.copytree(written, tmp_path / "store")


@pytest.fixture(params=["folder", "elsewhere"])
def opened(request: pytest.FixtureRequest) -> Callable[[Path], FeatureCache]:
    """Opens a store as one in a folder, or as one at a URL."""
    if request.param == "folder":
        return FeatureCache
    return lambda path: FeatureCache([Elsewhere(path)])  # type: ignore[list-item]


def verified(store: Path) -> Verification:
    survey = survey_store(open_store(store))
    return verify(survey, checks(survey), lambda _: None)


def read_part(cache: FeatureCache, part: int) -> None:
    """Every view of a part's images."""
    images = [2 * part, 2 * part + 1]
    for flip in (False, True):
        for copy in (0, 1, 2):
            cache.read(images, flipped=np.full(2, flip), copy=np.full(2, copy))


def as_earlier(store: Path) -> None:
    """Make of a store what the version before wrote: markers without the sums of chunks."""
    opened = open_store(store)
    plan = read_header(opened).plan
    for marker in read_markers(opened, plan):
        assert marker is not None
        write_marker(opened, replace(marker, chunks={}))
    write_complete(opened, plan)


NAMES = [
    "clip/tokens", "clip/scale", "region/tokens", "region/scale",
    "region/jittered/tokens", "region/jittered/scale", "region/jittered/box",
    "flipped/clip/tokens", "flipped/region/tokens", "flipped/region/jittered/tokens",
]  # fmt: skip
"""Of all that reading a batch needs."""


@pytest.mark.parametrize("name", NAMES)
def test_swapped_files_of_two_parts_are_never_read(
    store: Path, opened: Callable[[Path], FeatureCache], name: str
) -> None:
    first, second = shard_path(store, name, 0), shard_path(store, name, 2)
    assert first.stat().st_size == second.stat().st_size
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    cache = opened(store)
    for part in (0, 2):
        with pytest.raises(CacheDamagedError, match=f"damaged in part {part} .*{name}: a chunk is"):
            read_part(cache, part)
    for part in (1, 3):
        read_part(cache, part)
    assert verified(store).damaged_parts == [0, 2]


def test_a_file_of_another_stores_same_part_is_never_read(
    store: Path, tmp_path: Path, opened: Callable[[Path], FeatureCache]
) -> None:
    make_cache(tmp_path / "other", COUNTS, keep=KEEP, part_images=2, seed=5)
    shutil.copy(
        shard_path(tmp_path / "other", "clip/tokens", 1), shard_path(store, "clip/tokens", 1)
    )
    with pytest.raises(CacheDamagedError, match="belongs to another part or image"):
        read_part(opened(store), 1)


def test_a_whole_part_of_another_store_is_never_read(
    store: Path, tmp_path: Path, opened: Callable[[Path], FeatureCache]
) -> None:
    """Its files and its marker, which fit each other."""
    make_cache(tmp_path / "other", COUNTS, keep=KEEP, part_images=2, seed=5)
    for array in part_arrays(FeatureCache(store).plan).values():
        shutil.copy(tmp_path / "other" / array.file(1), store / array.file(1))
    shutil.copy(tmp_path / "other" / marker_key(1), store / marker_key(1))
    cache = opened(store)
    read_part(cache, 0)
    with pytest.raises(CacheDamagedError, match=r"000001\.json is not the one that the store was"):
        read_part(cache, 1)
    assert COMPLETE in {damage.key for damage in verified(store).damages}


def test_chunks_that_changed_places_are_never_read(
    store: Path, opened: Callable[[Path], FeatureCache]
) -> None:
    path = shard_path(store, "clip/tokens", 1)
    content = path.read_bytes()
    length = (len(content) - 2 * 16 - 4) // 2
    path.write_bytes(content[length : 2 * length] + content[:length] + content[2 * length :])
    with pytest.raises(CacheDamagedError, match="belongs to another part or image"):
        read_part(opened(store), 1)
    (damage,) = verified(store).damages
    assert [image.position for image in damage.images] == [2, 3]


def test_verify_names_the_images_of_a_chunk_that_is_another_ones(store: Path) -> None:
    """One image's chunk, checksum and all, in the place of another's of the same part."""
    path = shard_path(store, "clip/tokens", 1)
    content = path.read_bytes()
    length = (len(content) - 2 * 16 - 4) // 2
    path.write_bytes(content[:length] + content[:length] + content[2 * length :])
    (damage,) = verified(store).damages
    assert [image.position for image in damage.images] == [3]
    assert "another part's file" in damage.problem


def test_a_store_of_the_version_before_is_read_and_travels_byte_for_byte(
    store: Path, tmp_path: Path, opened: Callable[[Path], FeatureCache]
) -> None:
    whole = opened(store).read(range(len(COUNTS)))
    as_earlier(store)
    content = json.loads((store / marker_key(0)).read_text())
    assert "chunks" not in content
    assert "seals" not in json.loads((store / COMPLETE).read_text())
    again = opened(store).read(range(len(COUNTS)))
    assert torch.equal(again.image_tokens, whole.image_tokens)
    assert verified(store).whole
    ZipExport(store).write(tmp_path / "store.zip", lambda _: None)
    with ZipFileStore(tmp_path / "store.zip") as source:
        import_of(source, tmp_path / "back").run(lambda _: None)
    assert files_of(tmp_path / "back") == files_of(store)


def test_of_a_store_of_the_version_before_verify_finds_swapped_files(store: Path) -> None:
    as_earlier(store)
    first, second = shard_path(store, "clip/tokens", 0), shard_path(store, "clip/tokens", 2)
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    assert verified(store).damaged_parts == [0, 2]


def test_each_marker_is_asked_for_once_and_none_to_open(store: Path) -> None:
    elsewhere = Elsewhere(store)
    cache = FeatureCache([elsewhere])  # type: ignore[list-item]
    markers = [marker_key(part) for part in range(4)]
    assert not set(markers) & set(elsewhere.asked)
    for _ in range(2):
        read_part(cache, 1)
        read_part(cache, 3)
    assert sorted(key for key in elsewhere.asked if key in markers) == [markers[1], markers[3]]


def test_markers_without_a_summary_are_enough(
    store: Path, opened: Callable[[Path], FeatureCache]
) -> None:
    (store / COMPLETE).unlink()
    path = shard_path(store, "clip/tokens", 1)
    path.write_bytes(shard_path(store, "clip/tokens", 2).read_bytes())
    cache = opened(store)
    read_part(cache, 0)
    with pytest.raises(CacheDamagedError, match="belongs to another part or image"):
        read_part(cache, 1)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("image/bytes", "region/count"),
        ("image/id", "region/start"),
        ("region/annotation", "region/class"),
    ],
)
def test_swapped_small_arrays_are_never_read(
    store: Path, opened: Callable[[Path], FeatureCache], first: str, second: str
) -> None:
    one, two = store / f"{first}/c/0", store / f"{second}/c/0"
    content = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(content)
    with pytest.raises(CacheDamagedError, match="/c/0 is damaged"):
        read_part(opened(store), 0)
    assert {damage.key for damage in verified(store).damages} == {f"{first}/c/0", f"{second}/c/0"}
