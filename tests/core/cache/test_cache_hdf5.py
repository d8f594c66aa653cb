"""A store in one HDF5 file: it comes back byte for byte, and damage is refused."""

import json
import random
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import s3_server
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from regionspot_core.cache.layout.keep import Keep
from regionspot_core.cache.layout.plan import REGION_CHUNK
from regionspot_core.cache.layout.small import SmallArray
from regionspot_core.cache.location import Location
from regionspot_core.cache.maintenance.hdf5 import Hdf5Store
from regionspot_core.cache.maintenance.hdf5_export import Export
from regionspot_core.cache.maintenance.hdf5_import import Import
from regionspot_core.cache.read.reader import FeatureCache
from regionspot_core.cache.storage.arrays import read_attributes
from regionspot_core.cache.storage.markers import marker_key
from regionspot_core.cache.storage.store import FolderStore, Store, open_store
from regionspot_core.errors import CacheDamagedError, CacheError, InputError, RegionSpotError
from regionspot_core.testing import (
    SHAPE,
    files_of,
    make_annotations,
    make_bank,
    make_cache,
    shard_path,
)

COUNTS = [2, 0, 3, 1, 20, 0, 1, 4, 2]


def nothing(_: int) -> None:
    """No progress is shown."""


def export(store: Location, path: Path) -> Path:
    Export(store).write(path, nothing)
    return path


def import_to(path: Path, store: Location | Store) -> int:
    with Hdf5Store(path) as source:
        return Import(source, store).run(nothing)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    make_cache(tmp_path / "store", COUNTS, failed=[3])
    return tmp_path / "store"


@pytest.fixture
def exported(store: Path, tmp_path: Path) -> Path:
    return export(store, tmp_path / "store.h5")


@pytest.mark.slow
@given(data=st.data())
@settings(max_examples=12)
def test_any_store_comes_back_byte_for_byte(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    counts = data.draw(st.lists(st.integers(0, 20), min_size=1, max_size=9))
    keep = Keep(
        dtype=data.draw(st.sampled_from(["float16", "int8"])),
        sam_tokens=data.draw(st.sampled_from(["all", "paper"])),
        jitter=data.draw(st.integers(0, 2)),
        flip=data.draw(st.booleans()),
    )
    failed = data.draw(st.sets(st.integers(0, len(counts) - 1)))
    folder = tmp_path_factory.mktemp("cache")
    make_cache(
        folder / "a",
        counts,
        keep=keep,
        part_images=data.draw(st.integers(1, 10)),
        failed=sorted(failed),
    )
    import_to(export(folder / "a", folder / "a.h5"), folder / "b")
    assert files_of(folder / "b") == files_of(folder / "a")
    export(folder / "b", folder / "b.h5")
    assert (folder / "b.h5").read_bytes() == (folder / "a.h5").read_bytes()


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_h5py_alone_reads_the_same_values(tmp_path: Path, dtype: str) -> None:
    keep = Keep(dtype=dtype, jitter=2, flip=True)
    make_cache(tmp_path / "store", COUNTS, keep=keep)
    path = export(tmp_path / "store", tmp_path / "store.h5")
    group = zarr.open_group(str(tmp_path / "store"), mode="r")
    with h5py.File(path) as file:
        for name, array in _arrays(group):
            assert file[name].dtype == array.dtype
            assert np.array_equal(file[name][...], array[...]), name
        assert file["clip/tokens"].chunks == (1, SHAPE.image_tokens, SHAPE.image_width)
        assert file["region/tokens"].chunks[0] == REGION_CHUNK
        marked = json.loads(file.attrs["fingerprint"])
    assert marked == read_attributes(open_store(tmp_path / "store"))["fingerprint"]


def _arrays(group: zarr.Group) -> list[tuple[str, zarr.Array]]:
    found = [
        (name, each) for name, each in group.members(max_depth=None) if isinstance(each, zarr.Array)
    ]
    assert len(found) > 15
    return found


@pytest.mark.slow
def test_every_flipped_bit_is_refused(exported: Path, tmp_path: Path) -> None:
    content, chance = exported.read_bytes(), random.Random(0)
    damaged = tmp_path / "damaged.h5"
    for trial in range(150):
        flipped = bytearray(content)
        flipped[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        damaged.write_bytes(flipped)
        with pytest.raises(RegionSpotError, match=r"damaged\.h5: "):
            import_to(damaged, tmp_path / f"out {trial}")


@pytest.mark.parametrize("name", ["clip/tokens", "region/tokens", "region/iou"])
def test_damaged_tokens_are_named(exported: Path, tmp_path: Path, name: str) -> None:
    with h5py.File(exported) as file:
        chunk = file[name].id.get_chunk_info(1)
    content = bytearray(exported.read_bytes())
    content[chunk.byte_offset + 3] ^= 4
    exported.write_bytes(content)
    with pytest.raises(CacheDamagedError, match=f"store.h5: .*{name}/c/"):
        import_to(exported, tmp_path / "out")


def test_changed_values_with_a_right_hdf5_checksum_are_refused(
    exported: Path, tmp_path: Path
) -> None:
    with h5py.File(exported, "r+") as file:
        file["clip/tokens"][5, 0, 0] += 1  # HDF5 writes its own checksum anew
    with pytest.raises(CacheDamagedError, match=r"store\.h5: clip/tokens/c/1/0/0 is damaged"):
        import_to(exported, tmp_path / "out")
    with pytest.raises(CacheError, match="2 of 3 parts are not written yet"):
        FeatureCache(tmp_path / "out")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_file_that_was_cut_off_is_refused(exported: Path, tmp_path: Path, share: float) -> None:
    content = exported.read_bytes()
    exported.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CacheDamagedError, match=r"store\.h5: the file is damaged or cut off"):
        import_to(exported, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("absent", "got no file"),
        ("folder", "got a folder"),
        ("empty", "not HDF5"),
        ("text", "not HDF5"),
        ("bank", "got 'regionspot class bank 2'"),
        ("other", "got 'an HDF5 file without its mark'"),
        ("newer", "got 'regionspot feature cache in HDF5 9'"),
    ],
)
def test_what_is_no_export_is_refused(tmp_path: Path, kind: str, message: str) -> None:
    path = tmp_path / "file.h5"
    if kind == "folder":
        path.mkdir()
    elif kind in ("empty", "text"):
        path.write_text("" if kind == "empty" else "not what you want")
    elif kind == "bank":
        make_bank(make_annotations([1]).vocabulary).save(path)
    elif kind in ("other", "newer"):
        with h5py.File(path, "w") as file:
            file["clip/tokens"] = np.zeros(3)
            if kind == "newer":
                file.attrs["format"] = "regionspot feature cache in HDF5 9"
    with pytest.raises(InputError, match=message) as caught:
        import_to(path, tmp_path / "out")
    assert str(caught.value).startswith(f"{path}: expected a file that `regionspot extract export`")


def test_an_unfinished_store_is_refused_with_the_count(tmp_path: Path) -> None:
    make_cache(tmp_path / "store", COUNTS, parts=1)
    with pytest.raises(CacheError, match="2 of 3 parts are not written yet"):
        Export(tmp_path / "store")


def test_a_finished_store_without_its_summary_is_exported(store: Path, tmp_path: Path) -> None:
    whole = files_of(store)
    (store / "parts" / "complete.json").unlink()
    import_to(export(store, tmp_path / "store.h5"), tmp_path / "out")
    assert files_of(tmp_path / "out") == whole


@pytest.mark.parametrize(
    ("key", "state"),
    [
        ("clip/tokens/c/1/0/0", "damaged"),
        ("region/tokens/c/0/0/0", "missing"),
        ("classes.h5", "damaged"),
        ("region/box/c/0/0", "damaged"),
        ("clip/tokens/zarr.json", "missing"),
        (marker_key(1), "damaged"),
    ],
)
def test_a_damaged_store_is_not_exported(store: Path, tmp_path: Path, key: str, state: str) -> None:
    if state == "missing":
        (store / key).unlink()
    else:
        content = bytearray((store / key).read_bytes())
        content[20] ^= 1
        (store / key).write_bytes(content)
    with pytest.raises(CacheDamagedError, match=f"{key} is {state}"):
        export(store, tmp_path / "store.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


@pytest.mark.parametrize("out", ["store", "text", "absent/file.h5", "text/file.h5"])
def test_the_wrong_place_to_export_to_is_refused(store: Path, tmp_path: Path, out: str) -> None:
    (tmp_path / "text").write_text("keep me")
    with pytest.raises(InputError, match=f"--out {tmp_path / out}: "):
        export(store, tmp_path / out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store", "text"]
    assert (tmp_path / "text").read_text() == "keep me"


def test_an_interrupted_export_leaves_no_file(store: Path, tmp_path: Path) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Export(store).write(tmp_path / "store.h5", interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_an_interrupted_import_goes_on(exported: Path, store: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with Hdf5Store(exported) as source, pytest.raises(KeyboardInterrupt):
        Import(source, out).run(interrupt)
    with pytest.raises(CacheError, match="2 of 3 parts are not written yet"):
        FeatureCache(out)
    # A shard that was written before its marker could be is written again.
    (out / "clip" / "tokens" / "c" / "1" / "0").mkdir(parents=True)
    (out / "clip" / "tokens" / "c" / "1" / "0" / "0").write_bytes(b"half")
    with Hdf5Store(exported) as source:
        again = Import(source, out)
        first = sum(
            shard_path(store, name, 0).stat().st_size
            for name in ("clip/tokens", "region/tokens", "region/iou")
        )
        assert again.nbytes_there == first
        assert again.run(nothing) == 2
    assert files_of(out) == files_of(store)


def test_what_was_imported_or_exported_is_not_done_twice(
    exported: Path, store: Path, tmp_path: Path
) -> None:
    """As a command does that was killed at its very end and is given again."""
    out = tmp_path / "out"
    assert import_to(exported, out) == 3
    before = files_of(out)
    (out / "parts/complete.json").unlink()
    assert [import_to(exported, out) for _ in range(2)] == [0, 0]
    assert files_of(out) == before
    assert Export(store).is_at(exported)
    make_cache(tmp_path / "other", COUNTS, failed=[2])
    assert not Export(tmp_path / "other").is_at(exported)
    assert not Export(store).is_at(tmp_path / "absent.h5")


@pytest.mark.parametrize("kind", ["finished", "another", "other bytes", "file", "folder"])
def test_what_is_there_is_not_imported_over(exported: Path, tmp_path: Path, kind: str) -> None:
    out, message = tmp_path / "out", "choose another --out"
    if kind == "finished":
        make_cache(out, COUNTS, failed=[2])
    elif kind == "another":
        make_cache(out, [1, 2], parts=0)
    elif kind == "other bytes":
        make_cache(out, COUNTS, failed=[2], parts=1)
    else:
        message = "expected a feature cache"
        out.touch() if kind == "file" else out.mkdir()
    before = {} if kind in ("file", "folder") else files_of(out)
    with pytest.raises(CacheError, match=f"{out}: .*{message}"):
        import_to(exported, out)
    assert kind in ("file", "folder") or files_of(out) == before


EXPORT = """
import resource, sys
from pathlib import Path
from regionspot_core.cache.maintenance.hdf5_export import Export
from regionspot_core.errors import CacheError
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
try:
    Export(Path("store")).write(Path("store.h5"), lambda _: None)
except CacheError as error:
    print(error)
"""


@pytest.mark.parametrize("limit", [40_000])
def test_a_full_disk_is_an_error_and_leaves_no_file(
    store: Path, tmp_path: Path, limit: int
) -> None:
    """A process may write no file of more bytes: writes behind them fail, as on a full disk.

    In a process of its own: HDF5 may crash when it ends, if it could not close a file.
    """
    done = subprocess.run(
        [sys.executable, "-c", EXPORT, str(limit)],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "store.h5: the file cannot be written (File too large)\n"
    assert (done.returncode, done.stderr) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_small_arrays_of_several_chunks_are_put_together_again(tmp_path: Path) -> None:
    group = zarr.create_group(str(tmp_path))
    values = np.arange(20, dtype=np.int64).reshape(10, 2)
    array = group.create_array(
        "small",
        shape=values.shape,
        dtype=values.dtype,
        chunks=(4, 2),
        compressors=zarr.codecs.Crc32cCodec(),
        fill_value=-1,
    )
    array[...] = values
    store = FolderStore(tmp_path)
    small = SmallArray("small", values.dtype, values.shape, chunk_rows=4, fill=-1)
    assert [small.rows(f"small/c/{k}/0") for k in range(3)] == [
        slice(0, 4), slice(4, 8), slice(8, 10),
    ]  # fmt: skip
    for k in range(3):
        key = f"small/c/{k}/0"
        content = store.read(key) or b""
        assert np.array_equal(small.values(key, content), values[small.rows(key)])
        assert small.content(values[small.rows(key)]) == content


@pytest.mark.slow
def test_a_store_at_a_url_travels_both_ways(s3: s3_server.Bucket, tmp_path: Path) -> None:
    make_cache(s3.url("a"), COUNTS)
    make_cache(tmp_path / "store", COUNTS)
    path = export(s3.url("a"), tmp_path / "store.h5")
    import_to(path, s3.url("b"))
    assert files_of(s3.url("b")) == files_of(s3.url("a")) == files_of(tmp_path / "store")
    assert import_to(path, s3.url("b")) == 0


def test_an_exported_store_says_its_files_and_takes_none(exported: Path, store: Path) -> None:
    with Hdf5Store(exported) as source:
        whole = files_of(store)
        del whole["parts/complete.json"]  # follows from the others
        assert files_of(source) == whole
        for refused in (lambda: source.write("a", []), lambda: source.delete("a")):
            with pytest.raises(CacheError, match="only read"):
                refused()
        with pytest.raises(CacheError, match="import"):
            source.kvstore("clip/tokens")
