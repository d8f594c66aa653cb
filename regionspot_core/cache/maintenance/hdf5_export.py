"""Export of a finished store to one HDF5 file; `hdf5.py` beside it has the layout."""

from __future__ import annotations

import errno
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from regionspot_core.cache.layout.plan import Part
from regionspot_core.cache.layout.schema import CHUNK, CLASS_LISTS, GROUP, PartArray, part_arrays
from regionspot_core.cache.layout.shards import shard_values
from regionspot_core.cache.layout.small import SmallArray
from regionspot_core.cache.location import Location
from regionspot_core.cache.maintenance.copying import read_checked, require_plan_files
from regionspot_core.cache.maintenance.hdf5 import EXPORT_FORMAT, FILES, Hdf5Store
from regionspot_core.cache.storage.arrays import read_header
from regionspot_core.cache.storage.markers import PLAN_FILES, Marker, marker_key, require_markers
from regionspot_core.cache.storage.store import Store, open_store
from regionspot_core.errors import CacheError, InputError
from regionspot_core.support.checksums import FileSum
from regionspot_core.support.files import written_aside

LIBVER = "v110"
"""HDF5 1.10's layout (2016): the first whose own tables all carry checksums."""
SMALL_ROWS = 4096
"""Rows in a chunk of a small array."""


class Export:
    """A finished store, to be written to one file.

    Raises:
        CacheError: There is no store, or parts of it are not written yet.
    """

    def __init__(self, location: Location | Store) -> None:
        self._store = open_store(location)
        header = read_header(self._store)
        self._attributes, self._plan = header.attributes, header.plan
        self._markers = require_markers(self._store, self._plan)
        self._arrays = part_arrays(self._plan)

    @property
    def parts(self) -> int:
        """How many parts there are."""
        return len(self._markers)

    @property
    def nbytes(self) -> int:
        """Bytes of all parts' files."""
        return sum(file.size for marker in self._markers for file in marker.files.values())

    def is_at(self, path: Path) -> bool:
        """Whether a file is there that an export of this very store wrote.

        It has the store's checksums; it is not read whole.
        """
        if not path.is_file():
            return False
        try:
            with Hdf5Store(path) as there:
                keys = [PLAN_FILES, *(marker_key(marker.part) for marker in self._markers)]
                return there.read_many(keys) == self._store.read_many(keys)
        except (CacheError, InputError):
            return False

    def write(self, path: Path, on_bytes: Callable[[int], None]) -> None:
        """Write the file, whole or not at all. At most a part's file of an array is in memory.

        Args:
            path: Where; nothing may be there yet.
            on_bytes: Called with how many more bytes of the store are done.

        Raises:
            InputError: Something is there, or the folder is missing.
            CacheDamagedError: A file of the store is missing or damaged.
            CacheError: The file cannot be written.
        """
        _require_new(path)
        with _explained(path), written_aside(path) as partial, _Disk(partial) as disk:
            try:
                with h5py.File(disk, "w", libver=(LIBVER, LIBVER)) as file:
                    self._fill(file, disk, on_bytes)
            finally:
                disk.require_written()

    def _fill(self, file: Any, disk: _Disk, on_bytes: Callable[[int], None]) -> None:  # noqa: ANN401 - h5py is untyped
        _write_mark(file, "format", EXPORT_FORMAT)
        _write_mark(file, "fingerprint", json.dumps(self._attributes["fingerprint"]))
        self._write_planned(file)
        for array in self._arrays.values():
            _create(file, array.name, array.shape, array.dtype, array.chunk)
        for marker in self._markers:
            self._write_part(file, marker)
            disk.require_written()
            on_bytes(sum(each.size for each in marker.files.values()))

    def _write_planned(self, file: Any) -> None:  # noqa: ANN401 - h5py is untyped
        """The small arrays, and whole files of what is no array."""
        planned, small = require_plan_files(self._store), {}
        for key, wanted in planned.items():
            if CHUNK not in key:
                _write_file(file, key, read_checked(self._store, key, wanted))
        for key, wanted in planned.items():
            name, chunk, _ = key.partition(CHUNK)
            if not chunk:
                continue
            if name not in small:
                small[name] = self._create_small(file, name)
            content = read_checked(self._store, key, wanted)
            values = small[name].values(key, content)
            self._require_same(key, FileSum.of([small[name].content(values)]) == wanted)
            file[name][small[name].rows(key)] = values
        for name in CLASS_LISTS:  # of no class at all, and so without a chunk
            if f"{name}/{GROUP}" in planned and name not in small:
                self._create_small(file, name)
        _write_file(file, PLAN_FILES, self._store.read(PLAN_FILES) or b"")

    def _create_small(self, file: Any, name: str) -> SmallArray:  # noqa: ANN401
        content = self._store.read(f"{name}/{GROUP}")
        array = SmallArray.from_metadata(name, content, source=self._store)
        if not array.shape[0]:  # HDF5 cuts nothing into chunks
            file.create_dataset(name, shape=array.shape, dtype=array.dtype, track_times=False)
            return array
        rows = min(array.shape[0], SMALL_ROWS)
        _create(file, name, array.shape, array.dtype, (rows, *array.shape[1:]), fill=array.fill)
        return array

    def _write_part(self, file: Any, marker: Marker) -> None:  # noqa: ANN401
        part = self._plan.part(marker.part)
        for name, wanted in marker.files.items():
            self._write_values(file, self._arrays[name], part, wanted)
        key = marker_key(marker.part)
        _write_file(file, key, self._store.read(key) or b"")

    def _write_values(self, file: Any, array: PartArray, part: Part, wanted: FileSum) -> None:  # noqa: ANN401
        key, rows = array.file(part.index), array.rows(part)
        values = shard_values(
            read_checked(self._store, key, wanted),
            length=rows.stop - rows.start,
            chunk=array.chunk,
            shard=array.shard,
            dtype=array.dtype,
        )
        self._require_same(key, FileSum.of(array.pieces(values) or []) == wanted)
        file[array.name][rows] = values

    def _require_same(self, key: str, same: bool) -> None:
        """What an import will put together of the values must be the file again."""
        if not same:
            raise CacheError(
                f"{self._store}: {key} is not laid out as this version writes it, and would not "
                f"come back byte for byte; export with the version that wrote the store"
            )


class _Disk(io.RawIOBase):
    """A file for HDF5 to write to, which bears a full disk.

    An HDF5 file that cannot be written cannot be closed either, and the library then fails when the
    program ends. So an error is kept, and whatever HDF5 writes after it is dropped.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b", buffering=0)
        self._error: OSError | None = None

    def require_written(self) -> None:
        """Raise the error that writing met, if it met one."""
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        self._file.close()
        super().close()

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401
        return self._file.readinto(buffer)

    def write(self, content: Any) -> int:  # noqa: ANN401
        waiting = memoryview(content).cast("B")
        length = len(waiting)
        with self._kept():
            while len(waiting) and self._error is None:
                waiting = waiting[self._file.write(waiting) :]
        return length

    def truncate(self, size: int | None = None) -> int:
        with self._kept():
            self._file.truncate(size)
        return size or 0

    @contextmanager
    def _kept(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._error = self._error or error


def _write_mark(file: Any, name: str, text: str) -> None:  # noqa: ANN401 - h5py is untyped
    # Of fixed length: one of any length lies in a heap without a checksum.
    file.attrs[name] = np.bytes_(text.encode())


def _create(
    file: Any,  # noqa: ANN401 - h5py is untyped
    name: str,
    shape: tuple[int, ...],
    dtype: Any,  # noqa: ANN401
    chunk: tuple[int, ...],
    *,
    fill: float = 0,
) -> None:
    file.create_dataset(
        name,
        shape=shape,
        dtype=np.dtype(dtype).newbyteorder("<"),
        chunks=chunk,
        fillvalue=fill,
        fletcher32=True,
        track_times=False,  # the same store is the same bytes
    )


def _write_file(file: Any, key: str, content: bytes) -> None:  # noqa: ANN401
    values = np.frombuffer(content, np.uint8)
    file.create_dataset(FILES + key, data=values, track_times=False)


def _require_new(path: Path) -> None:
    if path.exists():
        what = "a folder" if path.is_dir() else "a file"
        raise InputError(f"--out {path}: expected a new file, there is {what} of that name")
    if not path.parent.is_dir():
        raise InputError(f"--out {path}: {path.parent} is no folder; make it first")


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = "; free some and run the same command again" if full else ""
        raise CacheError(
            f"{path}: the file cannot be written ({error.strerror or error}){advice}"
        ) from None
