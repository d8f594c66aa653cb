"""One shard file of a Zarr v3 array, put together in memory.

TensorStore reads these files, and so does zarr-python. They are put together here because that is
twice as fast as writing through TensorStore (benchmarks/LOG.md), gives the file's sum without
reading it back, and makes a store's bytes independent of any library's version. Layout: the Zarr v3
specification's ``sharding_indexed`` codec (zarr-specs.readthedocs.io), index at the end, each
inner chunk its little-endian values and a crc32c.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

Pieces = list[Any]
"""A file's content in order, not joined, so that nothing is copied: bytes and uint8 arrays."""

MISSING = (1 << 64) - 1
"""Offset and length in the index of a chunk that was never written."""


def shard_pieces(
    values: NDArray[Any], *, chunk: Sequence[int], shard: Sequence[int]
) -> Pieces | None:
    """Return the content of the shard file that holds ``values``; None where there are none.

    Args:
        values: The shard's beginning along axis 0, at most ``shard[0]`` long and whole along the
            other axes.
        chunk: Shape of an inner chunk; each length divides the shard's.
        shard: Shape of the shard.
    """
    if not len(values):
        return None
    pieces: Pieces = []
    offset = 0
    index = np.full((math.prod(shard) // math.prod(chunk), 2), MISSING, dtype="<u8")
    for place, content in enumerate(_chunk_rows(values, chunk)):
        pieces += [content, _crc32c(content)]
        index[place] = (offset, content.nbytes + 4)
        offset += content.nbytes + 4
    table = index.tobytes()
    return [*pieces, table, _crc32c(table)]


def shard_bytes(length: int, *, chunk: Sequence[int], shard: Sequence[int], dtype: str) -> int:
    """Return the size of the file that :func:`shard_pieces` puts together of ``length`` rows.

    0 where there are none.
    """
    if not length:
        return 0
    size = math.prod(chunk) * np.dtype(dtype).itemsize + 4
    index = 16 * (math.prod(shard) // math.prod(chunk)) + 4
    return chunk_count(length, chunk=chunk, shard=shard) * size + index


def chunk_count(length: int, *, chunk: Sequence[int], shard: Sequence[int]) -> int:
    """Return how many chunks, the first of its index, a shard of ``length`` rows has."""
    beside = math.prod(n // c for n, c in zip(shard[1:], chunk[1:], strict=True))
    return -(-length // chunk[0]) * beside


def chunk_sums(pieces: Pieces) -> str:
    """Return the CRC-32C of every chunk of a shard, in order: eight digits each, as stored.

    They tell a part's chunks from any other's, which are as whole.
    """
    return b"".join(pieces[1:-2:2]).hex()


def foreign_chunks(content: bytes, *, places: int, sums: str) -> list[int]:
    """Return the places in a shard's index of chunks that :func:`chunk_sums` does not know.

    Args:
        content: The shard file, its index whole.
        places: How many the index has.
        sums: Of the chunks that belong there.
    """
    ends = [start + size for start, size in _index(content, places).tolist()]
    wanted = bytes.fromhex(sums)
    return [
        place
        for place in range(len(wanted) // 4)
        if content[ends[place] - 4 : ends[place]] != wanted[4 * place : 4 * place + 4]
    ]


def _index(content: bytes, places: int) -> NDArray[np.uint64]:
    """Return offset and length of each chunk, (places, 2)."""
    return np.frombuffer(content[-16 * places - 4 : -4], dtype="<u8").reshape(-1, 2)


def damaged_chunks(content: bytes, *, places: int) -> list[int] | None:
    """Return the places in a shard's index of the chunks that do not match their checksum.

    Args:
        content: The shard file, of the size it was written with.
        places: How many its index has, unwritten ones included.

    Returns None where the index is damaged, so that no chunk can be found.
    """
    table = content[-16 * places - 4 :]
    if len(table) != 16 * places + 4 or _crc32c(table[:-4]) != table[-4:]:
        return None
    index = _index(content, places)
    written = np.flatnonzero(index[:, 0] != MISSING).tolist()
    chunks = ((place, *index[place].tolist()) for place in written)
    return [place for place, start, size in chunks if not _whole(content[start : start + size])]


def _whole(chunk: bytes) -> bool:
    return _crc32c(chunk[:-4]) == chunk[-4:]


def shard_values(
    content: bytes, *, length: int, chunk: Sequence[int], shard: Sequence[int], dtype: str
) -> NDArray[Any]:
    """Return the values in a file of :func:`shard_pieces`; no checksum is compared.

    Args:
        content: The file.
        length: How many rows of axis 0 it holds.
        chunk: Shape of an inner chunk.
        shard: Shape of the shard.
        dtype: Of the values.
    """
    little = np.dtype(dtype).newbyteorder("<")
    size = math.prod(chunk) * little.itemsize
    grid = [-(-length // chunk[0]), *(n // c for n, c in zip(shard[1:], chunk[1:], strict=True))]
    framed = np.frombuffer(content, np.uint8, math.prod(grid) * (size + 4)).reshape(-1, size + 4)
    chunks = np.ascontiguousarray(framed[:, :size]).view(little).reshape(*grid, *chunk)
    # (n0, n1, …, c0, c1, …) → (n0, c0, n1, c1, …)
    axes = [
        axis
        for pair in zip(range(len(grid)), range(len(grid), chunks.ndim), strict=True)
        for axis in pair
    ]
    return chunks.transpose(axes).reshape(-1, *shard[1:])[:length]


def _crc32c(content: NDArray[np.uint8] | bytes) -> bytes:
    return struct.pack("<I", google_crc32c.value(content))


def _chunk_rows(values: NDArray[Any], chunk: Sequence[int]) -> NDArray[np.uint8]:
    """Cut rows into inner chunks in the order of the shard's index, (chunks, bytes).

    The last is padded with zeros.
    """
    rest = -len(values) % chunk[0]
    if rest:
        values = np.concatenate([values, np.zeros((rest, *values.shape[1:]), values.dtype)])
    # (n0, c0, n1, c1, …) → (n0, n1, …, c0, c1, …)
    split = [n for length, c in zip(values.shape, chunk, strict=True) for n in (length // c, c)]
    axes = [*range(0, len(split), 2), *range(1, len(split), 2)]
    chunks = np.ascontiguousarray(values.reshape(split).transpose(axes))
    little = chunks.astype(chunks.dtype.newbyteorder("<"), copy=False)
    return little.reshape(math.prod(split[0::2]), -1).view(np.uint8)
