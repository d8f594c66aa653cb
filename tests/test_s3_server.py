"""The servers of s3_server.py do what the tests of stores at ``s3://`` rely on."""

import numpy as np
import pytest
import tensorstore as ts
import zarr

pytestmark = pytest.mark.slow

ABSENT = b"\x02"  # the generation of a key that is not there


@pytest.fixture
def kvstore(s3):
    return ts.KvStore.open(s3.spec("folder/")).result()


def test_a_value_comes_back_whole_and_in_part(kvstore):
    kvstore["a/b c+é"] = b"hello world"
    assert kvstore["a/b c+é"] == b"hello world"
    assert kvstore.read("a/b c+é", byte_range=slice(2, 5)).result().value == b"llo"
    assert kvstore.read("a/b c+é", byte_range=slice(-5, None)).result().value == b"world"
    assert kvstore.read("other").result().state == "missing"


def test_keys_are_listed_and_deleted(kvstore):
    assert kvstore.list().result() == []
    for key in ("a", "b/1", "b/2"):
        kvstore[key] = b"x"
    assert kvstore.list().result() == [b"a", b"b/1", b"b/2"]
    kvstore.delete_range(ts.KvStore.KeyRange("b/", "b0")).result()
    assert kvstore.list().result() == [b"a"]


def test_of_two_writers_of_an_absent_key_one_wins(s3, kvstore):
    if not s3.conditional_writes:
        pytest.skip(f"{s3.server} has no conditional writes")
    writes = [kvstore.write("a", value, if_equal=ABSENT) for value in (b"1", b"2")]
    won = [write.result().generation != b"" for write in writes]
    assert sorted(won) == [False, True]
    assert kvstore["a"] == (b"1", b"2")[won.index(True)]


def test_a_wrong_key_is_refused(s3, monkeypatch):
    if s3.server == "moto":
        pytest.skip("moto takes any key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(ValueError, match="SignatureDoesNotMatch"):
        ts.KvStore.open(s3.spec(), context=ts.Context()).result().list().result()


def test_a_sharded_array_reads_back_in_any_order_and_in_zarr_python(s3):
    values = np.arange(1, 801, dtype=np.uint16).reshape(100, 8)
    spec = {"driver": "zarr3", "kvstore": s3.spec("array/")}
    codecs = [{"name": "sharding_indexed", "configuration": {"chunk_shape": [1, 8]}}]
    grid = {"name": "regular", "configuration": {"chunk_shape": [32, 8]}}
    metadata = {"shape": [100, 8], "data_type": "uint16", "chunk_grid": grid, "codecs": codecs}
    ts.open({**spec, "metadata": metadata}, create=True).result()[...] = values
    rows = np.random.default_rng(0).permutation(100)[:30]
    assert (ts.open(spec).result()[rows].read().result() == values[rows]).all()
    assert (read_with_zarr(s3.url("array")) == values).all()


def read_with_zarr(url):
    obstore = pytest.importorskip("obstore.store")
    store = zarr.storage.ObjectStore(obstore.S3Store.from_url(url), read_only=True)
    return zarr.open_array(store, mode="r")[:]
