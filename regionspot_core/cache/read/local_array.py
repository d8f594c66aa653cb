"""Rows of a part array straight from its shard files, where these lie in a folder.

TensorStore, which reads all other stores, spends most of a warm read in its CRC-32C: a portable
one on processors that it does not know. Here the system puts a chunk where its values belong, and
google-crc32c looks at it right there (benchmarks/LOG.md).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from regionspot_core.cache.layout.schema import PartArray
from regionspot_core.cache.layout.shards import MISSING
from regionspot_core.support.input_files import open_regular

OPEN_FILES = 256
"""Shard files of an array that stay open, and their indices in memory: systems allow 1 024."""
CALL_BYTES = 1 << 20
"""Bytes of one read: they are still in the processor's cache when their checksum is made."""
CHUNKS_A_CALL = 256
"""Chunks of one call, with two buffers each: systems take at most 1 024 buffers (IOV_MAX)."""
ANOTHERS = "a chunk is whole, but belongs to another part or image"
SUM_BYTES = 4
"""A CRC-32C behind each chunk and behind the shard's index."""


ChunkSums = Callable[[int, str], NDArray[np.uint32] | None]
"""Function of a part and an array's name to the CRC-32C of each chunk of the file, in order."""


class LocalArray:
    """A part array in a folder, read by rows of axis 0. Threads may share it.

    Args:
        folder: The store's.
        array: One whose inner chunks are cut along axis 0 alone.
        sums: Gives the CRC-32C of each of a part's chunks, in order, where it is known: a chunk
            that is whole may still be another part's.
        open_files: Shard files that stay open.
    """

    def __init__(
        self,
        folder: Path,
        array: PartArray,
        sums: ChunkSums = lambda _part, _name: None,
        *,
        open_files: int = OPEN_FILES,
    ) -> None:
        self.array = array
        self.chunk_bytes = math.prod(array.chunk) * np.dtype(array.dtype).itemsize
        self._shard = lru_cache(open_files)(partial(_Shard, folder, array, self.chunk_bytes, sums))

    def begin(self, rows: NDArray[np.int64]) -> LocalRows:
        """Tell the system which rows will be read, so that the disk has all of them at once.

        Raises:
            ValueError: If a shard's index is damaged, or a chunk is not there.
            OSError: If a shard cannot be opened.
        """
        length = self.array.chunk[0]
        if length == 1:
            return LocalRows(self, self._runs(rows.tolist()), len(rows), take=None)
        chunks, place = np.unique(rows // length, return_inverse=True)
        take = place * length + rows % length
        return LocalRows(self, self._runs(chunks.tolist()), len(chunks), take=take)

    def _runs(self, chunks: list[int]) -> list[_Run]:
        """Return the chunks in the order given; neighbours in a file are read together."""
        # Plain loops over plain numbers: a batch has a few dozen chunks, and a NumPy call costs as
        # much as ten steps.
        step = self.chunk_bytes + SUM_BYTES
        shard_chunks = self.array.shard[0] // self.array.chunk[0]
        at_once = max(1, min(CHUNKS_A_CALL, CALL_BYTES // self.chunk_bytes))
        runs: list[_Run] = []
        last, follows = None, -1
        for first, chunk in enumerate(chunks):
            shard = self._shard(chunk // shard_chunks)
            offset = shard.offset(chunk % shard_chunks)
            if last is not None and shard is last.shard and offset == follows:
                last.count += 1
            else:
                last = _Run(shard, offset, first, chunk % shard_chunks)
                runs.append(last)
            follows = offset + step if last.count < at_once else -1
        return runs


class LocalRows:
    """Rows on their way."""

    def __init__(
        self, source: LocalArray, runs: list[_Run], chunks: int, take: NDArray[np.int64] | None
    ) -> None:
        self._source = source
        self._runs = runs
        self._chunks = chunks
        self._take = take
        for run in runs:
            run.announce(run.count * (source.chunk_bytes + SUM_BYTES))

    @property
    def in_order(self) -> bool:
        """Return whether a chunk is a row; only then :meth:`blocks` gives what was asked for."""
        return self._take is None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the result."""
        rows = self._chunks if self._take is None else len(self._take)
        return (rows, *self._source.array.chunk[1:])

    def result(self) -> NDArray[Any]:
        """Return (rows, …) in the order they were asked for.

        Raises:
            ValueError: If a chunk does not match its checksum, or its file is cut off.
            OSError: If the system cannot read.
        """
        content = np.empty((self._chunks, self._source.chunk_bytes), dtype=np.uint8)
        for run in self._runs:
            self._read(run, content[run.first : run.first + run.count])
        rows = self._rows(content)
        return rows if self._take is None else rows[self._take]

    def blocks(self) -> Iterator[tuple[slice, NDArray[Any]]]:
        """Yield a few rows at a time with their places, to decode them while the disk goes on.

        Each is overwritten by the next. Raises as :meth:`result` does.
        """
        longest = max((run.count for run in self._runs), default=0)
        content = np.empty((longest, self._source.chunk_bytes), dtype=np.uint8)
        for run in self._runs:
            self._read(run, content[: run.count])
            yield slice(run.first, run.first + run.count), self._rows(content[: run.count])

    def _read(self, run: _Run, content: NDArray[np.uint8]) -> None:
        """Read the chunks, and hold the sum made from each against the one stored behind it."""
        chunks = list(content)
        sums = [bytearray(SUM_BYTES) for _ in chunks]
        run.read([each for pair in zip(chunks, sums, strict=True) for each in pair])
        name, wanted = self._source.array.name, run.sums()
        for place, (chunk, stored) in enumerate(zip(chunks, sums, strict=True)):
            found = google_crc32c.value(chunk)
            if found != int.from_bytes(stored, "little"):
                raise ValueError(f"{name}: a chunk does not match its CRC-32C checksum")
            if wanted is not None and found != wanted[place]:
                raise ValueError(f"{name}: {ANOTHERS}")

    def _rows(self, content: NDArray[np.uint8]) -> NDArray[Any]:
        array = self._source.array
        values = content.view(np.dtype(array.dtype).newbyteorder("<"))
        return values.reshape(-1, *array.chunk[1:]).astype(array.dtype, copy=False)


@dataclass(slots=True)
class _Run:
    """Chunks that lie end to end in a shard file, and belong end to end."""

    shard: _Shard
    offset: int
    """Offset in the file."""
    first: int
    """Index of its first chunk among the chunks that are read."""
    place: int
    """Index of its first chunk in the shard's index."""
    count: int = 1

    def sums(self) -> list[int] | None:
        """Return the expected checksums of its chunks; None if they are not known."""
        known = self.shard.sums
        return None if known is None else known[self.place : self.place + self.count].tolist()

    def announce(self, size: int) -> None:
        """Have the system fetch the bytes, if it can, without waiting for them."""
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self.shard.file, self.offset, size, os.POSIX_FADV_WILLNEED)

    def read(self, buffers: list[Any]) -> None:
        """Fill the buffers, one behind the other."""
        wanted = sum(map(len, buffers))
        count = os.preadv(self.shard.file, buffers, self.offset)
        if count != wanted:
            raise ValueError(
                f"{self.shard.path}: expected {wanted} bytes at {self.offset}, found {count}"
            )


class _Shard:
    """A shard file that is open, with its index. It is closed with the last that needs it."""

    file = -1

    def __init__(
        self, folder: Path, array: PartArray, chunk_bytes: int, sums: ChunkSums, part: int
    ) -> None:
        self.sums = sums(part, array.name)
        self.path = folder / array.file(part)
        self.file = open_regular(self.path)
        chunks = array.shard[0] // array.chunk[0]
        size = 16 * chunks + SUM_BYTES
        before = os.fstat(self.file).st_size - size
        content = os.pread(self.file, size, before) if before >= 0 else b""
        table, stored = content[:-SUM_BYTES], content[-SUM_BYTES:]
        if len(content) != size or google_crc32c.value(table) != int.from_bytes(stored, "little"):
            raise ValueError(f"{self.path}: the shard's index does not match its checksum")
        offset, length = np.frombuffer(table, dtype="<u8").reshape(chunks, 2).T
        is_stored = (offset != MISSING) & (length == chunk_bytes + SUM_BYTES)
        is_stored &= offset <= max(0, before - chunk_bytes - SUM_BYTES)
        self._offset: list[int] = np.where(is_stored, offset.astype(np.int64), -1).tolist()

    def __del__(self) -> None:
        if self.file >= 0:
            os.close(self.file)

    def offset(self, chunk: int) -> int:
        """Return the offset of a chunk in the file.

        Raises:
            ValueError: If it is missing, or not as long as it must be.
        """
        offset = self._offset[chunk]
        if offset < 0:
            raise ValueError(f"{self.path}: a chunk is missing")
        return offset
