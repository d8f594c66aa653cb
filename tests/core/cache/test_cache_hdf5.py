"""A store's values in one HDF5 file: h5py alone reads them, and no import takes them."""

import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import s3_server
import zarr

from regionspot_core.cache.layout.keep import Keep
from regionspot_core.cache.layout.plan import REGION_CHUNK
from regionspot_core.cache.layout.small import SmallArray
from regionspot_core.cache.location import Location
from regionspot_core.cache.maintenance.hdf5_file import Hdf5Export
from regionspot_core.cache.maintenance.zip_file import ZipFileStore
from regionspot_core.cache.read.reader import FeatureCache
from regionspot_core.cache.storage.arrays import read_attributes
from regionspot_core.cache.storage.markers import marker_key
from regionspot_core.cache.storage.store import FolderStore, open_store
from regionspot_core.errors import CacheDamagedError, CacheError, InputError
from regionspot_core.testing import SHAPE, make_cache

COUNTS = [2, 0, 3, 1, 20, 0, 1, 4, 2]


def nothing(_: int) -> None:
    """No progress is shown."""


def export(store: Location, path: Path) -> Path:
    Hdf5Export(store).write(path, nothing)
    return path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    make_cache(tmp_path / "store", COUNTS, failed=[3])
    return tmp_path / "store"


@pytest.fixture
def exported(store: Path, tmp_path: Path) -> Path:
    return export(store, tmp_path / "store.h5")


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
        bank = FeatureCache(tmp_path / "store").class_bank()
        assert list(file["classes/names"].asstr()) == list(bank.vocabulary.names)
        assert np.array_equal(file["classes/embeddings"], bank.embeddings)
        marked = json.loads(file.attrs["fingerprint"])
    assert marked == read_attributes(open_store(tmp_path / "store"))["fingerprint"]


def _arrays(group: zarr.Group) -> list[tuple[str, zarr.Array]]:
    found = [
        (name, each) for name, each in group.members(max_depth=None) if isinstance(each, zarr.Array)
    ]
    assert len(found) > 15
    return found


def test_no_import_takes_it(exported: Path) -> None:
    with pytest.raises(
        InputError, match=r"store\.h5: expected a zip .*, got an HDF5 file"
    ) as caught:
        ZipFileStore(exported)
    assert "\n" not in str(caught.value)


def test_an_unfinished_store_is_refused_with_the_count(tmp_path: Path) -> None:
    make_cache(tmp_path / "store", COUNTS, parts=1)
    with pytest.raises(CacheError, match="2 of 3 parts are not written yet"):
        Hdf5Export(tmp_path / "store")


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
        Hdf5Export(store).write(tmp_path / "store.h5", interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_an_export_of_this_very_store_is_known(exported: Path, store: Path, tmp_path: Path) -> None:
    again = export(store, tmp_path / "again.h5")
    assert again.read_bytes() == exported.read_bytes()
    assert Hdf5Export(store).is_at(exported)
    make_cache(tmp_path / "other", COUNTS, failed=[2])
    assert not Hdf5Export(tmp_path / "other").is_at(exported)
    assert not Hdf5Export(store).is_at(tmp_path / "absent.h5")
    exported.write_text("no HDF5")
    assert not Hdf5Export(store).is_at(exported)


EXPORT = """
import resource, sys
from pathlib import Path
from regionspot_core.cache.maintenance.hdf5_file import Hdf5Export
from regionspot_core.errors import CacheError
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
try:
    Hdf5Export(Path("store")).write(Path("store.h5"), lambda _: None)
except CacheError as error:
    print(error)
"""


@pytest.mark.parametrize("limit", [15_000])
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
    assert done.stdout == (
        "store.h5: the file cannot be written (File too large; "
        "the limit on the size of files must be raised (ulimit -f))\n"
    )
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
    small = SmallArray("small", values.dtype, values.shape, chunk_rows=4)
    assert [small.rows(f"small/c/{k}/0") for k in range(3)] == [
        slice(0, 4), slice(4, 8), slice(8, 10),
    ]  # fmt: skip
    for k in range(3):
        key = f"small/c/{k}/0"
        content = store.read(key) or b""
        assert np.array_equal(small.values(key, content), values[small.rows(key)])


@pytest.mark.slow
def test_a_store_at_a_url_is_exported(s3: s3_server.Bucket, tmp_path: Path) -> None:
    make_cache(s3.url("a"), COUNTS)
    make_cache(tmp_path / "store", COUNTS)
    from_url, from_folder = tmp_path / "url.h5", tmp_path / "folder.h5"
    export(s3.url("a"), from_url)
    export(tmp_path / "store", from_folder)
    assert from_url.read_bytes() == from_folder.read_bytes()
