"""Export of a store's values to one HDF5 file, for other programs to read.

Every array of the store is a dataset of the same name, rows, type and values, so that
``file["clip/tokens"][7]`` reads one image; ``classes/names`` and ``classes/embeddings`` hold the
classes. Nothing imports the file again: `zip_file.py` beside it is the export that comes back.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from regionspot_core.cache.layout.schema import CLASS_BANK, GROUP, SMALL_ARRAYS
from regionspot_core.cache.layout.shards import shard_values
from regionspot_core.cache.layout.small import read_small
from regionspot_core.cache.maintenance.copying import read_checked, require_plan_files
from regionspot_core.cache.maintenance.export import Export
from regionspot_core.cache.storage.markers import Marker
from regionspot_core.text.class_bank import ClassBank

FORMAT = "regionspot feature cache values 1"
LIBVER = "v110"
"""HDF5 1.10's layout (2016): the first whose own tables all carry checksums."""


class Hdf5Export(Export):
    """A finished store, whose values are to be written to one HDF5 file."""

    def is_at(self, path: Path) -> bool:
        """Return whether an export of this very store is at the path; it is not read whole."""
        if not path.is_file() or not h5py.is_hdf5(path):
            return False
        try:
            with h5py.File(path, "r", locking="best-effort") as file:
                return all(
                    file.attrs.get(name) == value.encode()
                    for name, value in self._marks(FORMAT).items()
                )
        except Exception:
            return False

    def _write(self, path: Path, on_bytes: Callable[[int], None]) -> None:
        with _Disk(path) as disk:
            try:
                with h5py.File(disk, "w", libver=(LIBVER, LIBVER)) as file:
                    self._fill(file, disk, on_bytes)
            finally:
                disk.require_written()

    def _fill(self, file: Any, disk: _Disk, on_bytes: Callable[[int], None]) -> None:  # noqa: ANN401 - h5py is untyped
        for name, value in self._marks(FORMAT).items():
            file.attrs[name] = np.bytes_(value.encode())
        self._write_classes(file)
        self._write_small(file)
        for array in self._arrays.values():
            _create(file, array.name, array.shape, array.dtype, chunks=array.chunk)
        for marker in self._markers:
            self._write_part(file, marker)
            disk.require_written()
            on_bytes(sum(each.size for each in marker.files.values()))

    def _write_classes(self, file: Any) -> None:  # noqa: ANN401 - h5py is untyped
        content = read_checked(self._store, CLASS_BANK, require_plan_files(self._store)[CLASS_BANK])
        bank = ClassBank.load(io.BytesIO(content), name=f"{self._store}/{CLASS_BANK}")
        names = list(bank.vocabulary.names)
        file.create_dataset("classes/names", data=names, dtype=h5py.string_dtype())
        file.create_dataset("classes/embeddings", data=bank.embeddings, track_times=False)

    def _write_small(self, file: Any) -> None:  # noqa: ANN401 - h5py is untyped
        files = require_plan_files(self._store)
        for name in SMALL_ARRAYS:
            if f"{name}/{GROUP}" in files:
                values = read_small(self._store, name, files)
                _create(file, name, values.shape, values.dtype)[...] = values

    def _write_part(self, file: Any, marker: Marker) -> None:  # noqa: ANN401 - h5py is untyped
        part = self._plan.part(marker.part)
        for name, _, content in self._part_files(marker):
            array = self._arrays[name]
            rows = array.rows(part)
            file[name][rows] = shard_values(
                content,
                length=rows.stop - rows.start,
                chunk=array.chunk,
                shard=array.shard,
                dtype=array.dtype,
            )


class _Disk(io.RawIOBase):
    """A file for HDF5 to write to, which keeps the error of a full disk.

    An HDF5 file that cannot be written cannot be closed either, and the library then fails when the
    program ends. So the first error is kept, and whatever HDF5 writes after it is dropped.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b", buffering=0)
        self._error: OSError | None = None

    def require_written(self) -> None:
        """Raise the first error of writing, if there was one."""
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


def _create(
    file: Any,  # noqa: ANN401 - h5py is untyped
    name: str,
    shape: tuple[int, ...],
    dtype: Any,  # noqa: ANN401
    *,
    chunks: tuple[int, ...] | None = None,
) -> Any:  # noqa: ANN401
    """Create a dataset; where it has chunks, each carries a checksum."""
    return file.create_dataset(
        name,
        shape=shape,
        dtype=np.dtype(dtype).newbyteorder("<"),
        chunks=chunks,
        fletcher32=chunks is not None,
        track_times=False,  # the same store is the same bytes
    )
