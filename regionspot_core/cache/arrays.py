"""Opening a store's arrays through TensorStore, and creating them through zarr-python.

TensorStore reads sharded chunks some seventy times faster than zarr-python (benchmarks/LOG.md).
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts
import zarr
from numpy.typing import NDArray
from zarr.codecs import BytesCodec, Crc32cCodec

from regionspot_core.cache.markers import PLAN_FILES, FileSum, read_plan_files
from regionspot_core.cache.plan import CachePlan
from regionspot_core.cache.schema import ATTRIBUTE, FORMAT, GROUP, PartArray
from regionspot_core.cache.store import FolderStore, Store
from regionspot_core.errors import CacheDamagedError, CacheError

# No pool: the page cache already holds what is read twice, and copies less (benchmarks/LOG.md).
_CONTEXT = ts.Context({"cache_pool": {"total_bytes_limit": 0}})

READ_ERRORS = (ValueError, IndexError, OSError, RuntimeError)
"""What TensorStore raises where a file is not what it should be."""


def create_array(group: zarr.Group, array: PartArray) -> None:
    """Create the metadata of an array whose every inner chunk carries a crc32c."""
    group.create_array(
        array.name,
        shape=array.shape,
        dtype=array.dtype,
        chunks=array.chunk,
        shards=array.shard,
        serializer=BytesCodec() if array.dtype != "int8" else BytesCodec(endian=None),
        compressors=Crc32cCodec(),
        fill_value=0,
    )


def create_small(group: zarr.Group, name: str, values: NDArray[Any], fill: int) -> None:
    """Write a small array whole, its chunks with a crc32c each."""
    chunk = (max(1, min(len(values), 1 << 20)), *values.shape[1:])
    array = group.create_array(
        name,
        shape=values.shape,
        dtype=values.dtype,
        chunks=chunk,
        serializer=BytesCodec() if values.dtype.itemsize > 1 else BytesCodec(endian=None),
        compressors=Crc32cCodec(),
        fill_value=fill,
        # A chunk that holds nothing but the fill value is written as well: one that is not there
        # is one that was lost.
        config={"write_empty_chunks": True},
    )
    array[...] = values


def consolidate(folder: Path) -> None:
    """Put all arrays' metadata into the group's own file: one read opens the whole store.

    It also spares zarr-python from listing the folder, where markers and the class bank would
    make it warn.
    """
    with warnings.catch_warnings():
        # zarr-python warns that Zarr v3 does not specify consolidated metadata yet; readers
        # that do not know it ignore it.
        warnings.filterwarnings("ignore", message="Consolidated metadata", category=UserWarning)
        zarr.consolidate_metadata(str(folder))


def read_attributes(store: Store) -> dict[str, Any]:
    """What the store says of itself: format, fingerprint, plan and vocabulary.

    All metadata files are looked over first: arrays that are opened later are what they were.

    Raises:
        CacheError: There is no store, it is not ours, or it is of another format.
        CacheDamagedError: A file of metadata is not what was written.
    """
    content = store.read(GROUP)
    if content is None:
        raise CacheError(
            f"{store}: expected a feature cache (written by `regionspot extract run`), found "
            f"{_what_is_there(store)}"
        )
    sums = read_plan_files(store)
    if not sums:
        parse_attributes(store, content)  # another format has no such file
        raise _damaged(store, PLAN_FILES, "missing")
    keys = [key for key in sums if key.rpartition("/")[2] == GROUP]
    for key, found in zip(keys, store.read_many(keys), strict=True):
        if found is None or FileSum.of([found]) != sums[key]:
            raise _damaged(store, key, "missing" if found is None else "damaged")
    return parse_attributes(store, content)


def parse_attributes(store: Store, content: bytes) -> dict[str, Any]:
    """The store's attributes in the content of the group's own file.

    Raises:
        CacheError: They are not those of a feature cache of this format.
    """
    try:
        attributes = json.loads(content)["attributes"][ATTRIBUTE]
    except (ValueError, KeyError, TypeError) as error:
        raise CacheError(
            f"{store}: not a feature cache ({type(error).__name__}: no {ATTRIBUTE!r} attributes)"
        ) from None
    if not isinstance(attributes, dict) or attributes.get("format") != FORMAT:
        found = attributes.get("format") if isinstance(attributes, dict) else attributes
        raise CacheError(
            f"{store}: expected cache format {FORMAT}, found {found}; extract it again, or read it "
            f"with the version that wrote it"
        )
    return attributes


def read_plan(store: Store, attributes: dict[str, Any]) -> CachePlan:
    """The store's plan, from its attributes and its ``region/count``."""
    return CachePlan.from_json(attributes["plan"], read_array(store, "region/count"))


def begin_open(store: Store, name: str) -> Any:  # noqa: ANN401 - TensorStore is untyped
    """Begin to open an array; ``.result()`` of what comes back waits for it."""
    spec = {
        "driver": "zarr3",
        "kvstore": store.kvstore(name),
        "recheck_cached_data": False,
        # A chunk that is not there was lost: what a part holds is always written.
        "fill_missing_data_reads": False,
    }
    return ts.open(spec, open=True, read=True, write=False, context=_CONTEXT)


def read_array(store: Store, name: str) -> NDArray[Any]:
    """All of one of the small arrays.

    Raises:
        CacheDamagedError: It is missing, or does not match its checksum.
    """
    try:
        return np.asarray(begin_open(store, name).result()[...].read().result())
    except READ_ERRORS as error:
        raise _damaged(store, name, f"damaged ({first_line(error)})") from None


def first_line(error: Exception) -> str:
    """TensorStore's message without its trail of source lines."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _damaged(store: Store, key: str, how: str) -> CacheDamagedError:
    return CacheDamagedError(
        f"{store}: {key} is {how}; `regionspot extract verify` tells what else is"
    )


def _what_is_there(store: Store) -> str:
    if isinstance(store, FolderStore) and store.folder.exists():
        return "a file" if store.folder.is_file() else "a folder that is none"
    return "nothing"
