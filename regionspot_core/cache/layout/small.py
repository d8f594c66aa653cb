"""The small arrays, which the plan decides: a file of each chunk's values and their crc32c."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import google_crc32c
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from regionspot_core.cache.layout.schema import CHUNK, GROUP, SMALL_ARRAYS, PartArray
from regionspot_core.cache.storage.markers import damaged, not_ours
from regionspot_core.cache.storage.store import Store
from regionspot_core.support.checksums import FileSum
from regionspot_core.support.records import Count, Length, parse_object, validated

CHUNK_ROWS = 1 << 20
"""No chunk has more."""
PLAIN = ("bytes", "crc32c")
"""The codecs of every chunk."""
SHARDED = ("sharding_indexed",)


class _ChunkShape(BaseModel):
    chunk_shape: tuple[Length, ...] = Field(min_length=1)


class _ChunkGrid(BaseModel):
    name: Literal["regular"]
    configuration: _ChunkShape


class _CodecConfiguration(BaseModel):
    chunk_shape: tuple[Length, ...] = ()
    codecs: tuple[_Codec, ...] = ()
    index_codecs: tuple[_Codec, ...] = ()
    index_location: Literal["end"] = "end"
    endian: Literal["little"] = "little"


class _Codec(BaseModel):
    name: str
    configuration: _CodecConfiguration = Field(default_factory=_CodecConfiguration)


class _ArrayMetadata(BaseModel):
    """An array's ``zarr.json``, as far as it is followed."""

    zarr_format: Literal[3]
    node_type: Literal["array"]
    shape: tuple[Count, ...] = Field(min_length=1)
    data_type: Literal["int8", "uint8", "int16", "uint16", "int32", "int64", "float16", "float32"]
    chunk_grid: _ChunkGrid
    fill_value: float = Field(ge=-1, le=0)
    codecs: tuple[_Codec, ...]

    @property
    def chunk(self) -> tuple[int, ...]:
        """Shape of what one file holds."""
        return self.chunk_grid.configuration.chunk_shape


@dataclass(frozen=True)
class SmallArray:
    """A small array, cut along axis 0 into one file a chunk."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    chunk_rows: int

    @classmethod
    def from_metadata(cls, name: str, content: bytes | None, *, source: object) -> SmallArray:
        """Read the array's ``zarr.json``; ``source`` names the store in messages.

        Raises:
            CacheDamagedError: It is missing, or not a small array's of this name.
        """
        values = _metadata(name, content, source)
        kind = SMALL_ARRAYS[name]
        found = (values.data_type, values.shape[1:], values.chunk[1:], _names(values.codecs))
        if values.chunk[0] > CHUNK_ROWS or found != (
            kind.dtype,
            kind.trailing,
            kind.trailing,
            PLAIN,
        ):
            raise not_ours(source, f"{name}/{GROUP}")("it is another array's")
        return cls(
            name=name,
            dtype=np.dtype(values.data_type).newbyteorder("<"),
            shape=values.shape,
            chunk_rows=values.chunk[0],
        )

    @property
    def chunks(self) -> int:
        """Number of its files."""
        return -(-self.shape[0] // self.chunk_rows)

    def key(self, place: int) -> str:
        """Return the key of the file at a place, counted from 0."""
        return f"{self.name}{CHUNK}{place}" + "/0" * len(self.shape[1:])

    def rows(self, key: str) -> slice:
        """Return the rows that the file at a key holds."""
        start = int(key.removeprefix(self.name + CHUNK).split("/")[0]) * self.chunk_rows
        return slice(start, min(start + self.chunk_rows, self.shape[0]))

    def values(self, key: str, content: bytes) -> NDArray[Any]:
        """Return the rows of :meth:`rows` from the file's content.

        Raises:
            ValueError: It is not as long as it must be, or does not match its checksum.
        """
        rows, size = self.rows(key), self.chunk_rows * math.prod(self.shape[1:])
        if len(content) != size * self.dtype.itemsize + 4:
            raise ValueError(f"{size * self.dtype.itemsize + 4:,} bytes expected")
        plain = np.frombuffer(content, np.uint8, len(content) - 4)
        if content[-4:] != struct.pack("<I", google_crc32c.value(plain)):
            raise ValueError("it does not match its checksum")
        shape = (rows.stop - rows.start, *self.shape[1:])
        return np.frombuffer(content, self.dtype, math.prod(shape)).reshape(shape)


def read_small(store: Store, name: str, files: Mapping[str, FileSum]) -> NDArray[Any]:
    """Read all of a small array.

    Args:
        store: Where.
        name: The array's.
        files: The files of the plan: each chunk must be the one that belongs there. Empty where
            the list of them is damaged: each is then only held against the checksum behind it.

    Raises:
        CacheDamagedError: A file is missing, or is not what was written.
    """
    key = f"{name}/{GROUP}"
    metadata = store.read(key)
    if files and metadata is not None and FileSum.of([metadata]) != files.get(key):
        raise damaged(store, key, "damaged")
    array = SmallArray.from_metadata(name, metadata, source=store)
    listed = sum(key.startswith(name + CHUNK) for key in files)
    if files and array.chunks != listed:
        raise not_ours(store, f"{name}/{GROUP}")(
            f"it has {array.chunks} chunks, and the plan lists {listed}"
        )
    found = []
    for place in range(array.chunks):
        key = array.key(place)
        content = store.read(key)
        if content is None:
            raise damaged(store, key, "missing")
        if files and FileSum.of([content]) != files.get(key):
            raise damaged(store, key, "damaged")
        try:
            found.append(array.values(key, content))
        except ValueError as error:
            raise damaged(store, key, f"damaged ({error})") from None
    return np.concatenate([np.zeros((0, *array.shape[1:]), array.dtype), *found])


def require_part_array(array: PartArray, content: bytes | None, *, source: object) -> None:
    """Refuse metadata that does not say of a part array what the plan says of it.

    Raises:
        CacheDamagedError: It does not.
    """
    values = _metadata(array.name, content, source)
    inner = values.codecs[0].configuration if values.codecs else _CodecConfiguration()
    found = (values.data_type, values.shape, values.chunk, _names(values.codecs), inner.chunk_shape)
    wanted = (array.dtype, array.shape, array.shard, SHARDED, array.chunk)
    codecs = (_names(inner.codecs), _names(inner.index_codecs))
    if found != wanted or codecs != (PLAIN, PLAIN):
        raise not_ours(source, f"{array.name}/{GROUP}")(
            f"the plan says {array.shape} in files of {array.shard}, it says {values.shape} in "
            f"files of {values.chunk}"
        )


def _metadata(name: str, content: bytes | None, source: object) -> _ArrayMetadata:
    if content is None:
        raise damaged(source, f"{name}/{GROUP}", "missing")
    try:
        values = parse_object(content)
    except ValueError:
        raise not_ours(source, f"{name}/{GROUP}")("it is no JSON object") from None
    return validated(_ArrayMetadata, values, not_ours(source, f"{name}/{GROUP}"))


def _names(codecs: tuple[_Codec, ...]) -> tuple[str, ...]:
    return tuple(codec.name for codec in codecs)
