"""Shard files: the bytes TensorStore itself writes, readable by it and by zarr-python."""

import math

import numpy as np
import pytest
import tensorstore as ts
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.codecs import BytesCodec, Crc32cCodec

from regionspot_core.cache.layout.shards import shard_pieces

INNER = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
CASES = [
    ((4, 5), (1, 5), (4, 5)),  # a chunk an image
    ((3, 5), (1, 5), (4, 5)),  # the last part is not full
    ((20, 3, 2), (16, 3, 2), (48, 3, 2)),  # region rows: a padded chunk, an unwritten one
    ((20, 3, 2), (16, 1, 2), (32, 3, 2)),  # jittered copies: a chunk each
    ((1,), (1,), (1,)),
]


def tensorstore_file(values: np.ndarray, chunk: tuple[int, ...], shard: tuple[int, ...]) -> bytes:
    """What TensorStore writes for a shard, all chunks stored."""
    sharding = {
        "name": "sharding_indexed",
        "configuration": {"chunk_shape": chunk, "codecs": INNER, "index_codecs": INNER},
    }
    array = ts.open(
        {
            "driver": "zarr3",
            "kvstore": "memory://",
            "store_data_equal_to_fill_value": True,
            "metadata": {
                "shape": [*shard],
                "data_type": str(values.dtype),
                "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shard}},
                "codecs": [sharding],
            },
        },
        create=True,
    ).result()
    padded = -(-len(values) // chunk[0]) * chunk[0]
    rest = np.zeros((padded - len(values), *values.shape[1:]), values.dtype)
    array[:padded].write(np.concatenate([values, rest])).result()
    (key,) = (key for key in array.kvstore.list().result() if key.startswith(b"c/"))
    return bytes(array.kvstore.read(key).result().value)


@pytest.mark.parametrize(("shape", "chunk", "shard"), CASES)
@pytest.mark.parametrize("dtype", ["float16", "float32", "int8"])
def test_the_bytes_are_tensorstores(
    shape: tuple[int, ...], chunk: tuple[int, ...], shard: tuple[int, ...], dtype: str
) -> None:
    values = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    pieces = shard_pieces(values, chunk=chunk, shard=shard)
    assert pieces is not None
    ours, theirs = b"".join(pieces), tensorstore_file(values, chunk, shard)
    # TensorStore may order chunks otherwise within the file; the index says where each lies.
    assert len(ours) == len(theirs)
    assert chunks_of(ours, math.prod(shard) // math.prod(chunk)) == chunks_of(
        theirs, math.prod(shard) // math.prod(chunk)
    )


def chunks_of(content: bytes, count: int) -> list[bytes | None]:
    """Each chunk's bytes as the index at the end tells, read naively."""
    index = np.frombuffer(content[-16 * count - 4 : -4], "<u8").reshape(count, 2)
    missing = 2**64 - 1
    return [
        None if start == missing else content[int(start) : int(start) + int(size)]
        for start, size in index.tolist()
    ]


@given(
    rows=st.integers(1, 40),
    trailing=st.lists(st.integers(1, 4), max_size=2),
    chunk_rows=st.sampled_from([1, 2, 16]),
    split=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_zarr_python_reads_what_was_written(
    tmp_path_factory: pytest.TempPathFactory,
    rows: int,
    trailing: list[int],
    chunk_rows: int,
    split: bool,
) -> None:
    values = np.random.default_rng(rows).standard_normal((rows, *trailing)).astype(np.float16)
    shard_rows = -(-rows // chunk_rows) * chunk_rows + chunk_rows
    inner = [1, *trailing[1:]] if split and trailing else trailing
    chunk, shard = (chunk_rows, *inner), (shard_rows, *trailing)
    folder = tmp_path_factory.mktemp("array")
    array = zarr.create_array(
        str(folder), shape=shard, dtype="float16", chunks=chunk, shards=shard,
        serializer=BytesCodec(), compressors=Crc32cCodec(), fill_value=0,
    )  # fmt: skip
    pieces = shard_pieces(values, chunk=chunk, shard=shard)
    assert pieces is not None
    file = folder.joinpath("c", *["0"] * len(shard))
    file.parent.mkdir(parents=True)
    file.write_bytes(b"".join(pieces))
    assert np.array_equal(array[:rows], values)


def test_no_rows_make_no_file() -> None:
    assert shard_pieces(np.zeros((0, 3), np.float16), chunk=(16, 3), shard=(16, 3)) is None
