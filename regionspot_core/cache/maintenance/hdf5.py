"""An exported cache: one HDF5 file, read as the store that it was made of.

``clip/tokens`` and every other array is a dataset under the name it has in the store, with the
same rows and an inner chunk of the store as its chunk; so ``file["clip/tokens"][7]`` reads one
image. ``files/…`` holds the store's remaining files as bytes: metadata, class bank, commit markers.
The store's files follow from these, byte for byte.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np

from regionspot_core.cache.layout.plan import CachePlan
from regionspot_core.cache.layout.schema import CHUNK, GROUP, SMALL_ARRAYS, PartArray, part_arrays
from regionspot_core.cache.layout.shards import Pieces
from regionspot_core.cache.layout.small import SmallArray
from regionspot_core.cache.maintenance.copying import read_checked, require_plan_files
from regionspot_core.cache.storage.arrays import read_header
from regionspot_core.cache.storage.markers import PLAN_FILES, marker_key, require_markers
from regionspot_core.cache.storage.store import Store, require_key
from regionspot_core.errors import CacheDamagedError, CacheError, InputError

EXPORT_FORMAT = "regionspot feature cache in HDF5 1"
FILES = "files/"
"""What the names of the datasets that hold whole files begin with."""
MOST_COMPRESSED = 1032
"""Times that deflate makes zeros smaller. We compress nothing, and whoever does is not refused."""
EXPORTS = "expected a file that `regionspot extract export` wrote"


class ExportDamagedError(CacheDamagedError):
    """An exported file is not what was written."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path}: the file is damaged or cut off ({why}); get it again")


class Hdf5Store(Store):
    """The files of the store that an HDF5 file was exported from, put together as they are read.

    Raises:
        InputError: The file is missing, or is not an export.
        CacheDamagedError: It is cut off or damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = _open(path)
        try:
            self._require_whole()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    @property
    def name(self) -> str:
        """The file."""
        return str(self._path)

    @cached_property
    def plan(self) -> CachePlan:
        """The plan of the store."""
        return read_header(self).plan

    def read(self, key: str) -> bytes | None:
        """See :class:`Store`."""
        require_key(key)
        with self._explained(key):
            name, chunk, place = key.partition(CHUNK)
            if not chunk:
                found = self._dataset(FILES + key)
                return None if found is None else found[...].astype(np.uint8).tobytes()
            number = int(place.partition("/")[0]) if place[:1].isdecimal() else -1
            if name in SMALL_ARRAYS:
                return self._small_file(name, key, number)
            array = self._part_arrays.get(name)
            if array is None or not 0 <= number < self.plan.part_count:
                return None
            if key != array.file(number):
                return None
            rows = array.rows(self.plan.part(number))
            pieces = array.pieces(self._values(name, array.shape, array.dtype)[rows])
            return None if pieces is None else b"".join(pieces)

    def read_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """See :class:`Store`."""
        return [self.read(key) for key in keys]

    def write(self, key: str, pieces: Pieces) -> None:
        """An exported file is only read.

        Raises:
            CacheError: Always.
        """
        raise CacheError(f"{self._path}: an exported store is only read; import it to go on")

    def delete(self, key: str) -> None:
        """See :meth:`write`."""
        self.write(key, [])

    def keys(self) -> list[str]:
        """See :class:`Store`."""
        parts = [
            self._part_arrays[name].file(marker.part)
            for marker in require_markers(self, self.plan)
            for name in marker.files
        ]
        stored = [PLAN_FILES, *(marker_key(part) for part in range(self.plan.part_count))]
        return [*require_plan_files(self), *parts, *stored]

    def kvstore(self, key: str) -> dict[str, Any]:
        """TensorStore reads no HDF5.

        Raises:
            CacheError: Always.
        """
        raise CacheError(f"{self._path}: read it with h5py, or `regionspot extract import` it")

    @cached_property
    def _part_arrays(self) -> dict[str, PartArray]:
        return part_arrays(self.plan)

    def _small_file(self, name: str, key: str, number: int) -> bytes | None:
        small = SmallArray.from_metadata(name, self.read(f"{name}/{GROUP}"), source=self)
        if not 0 <= number < small.chunks or key != small.key(number):
            return None
        values = self._values(name, small.shape, small.dtype)
        return small.content(values[small.rows(key)])

    def _values(self, name: str, shape: tuple[int, ...], dtype: Any) -> Any:  # noqa: ANN401 - h5py is untyped
        """An array's dataset.

        Raises:
            ExportDamagedError: It is missing, or of another shape or type than the store's.
        """
        found = self._dataset(name)
        if found is None or found.shape != shape or found.dtype != np.dtype(dtype):
            raise ExportDamagedError(self._path, f"{name}: not the array that the plan says")
        return found

    def _dataset(self, name: str) -> Any:  # noqa: ANN401
        """The dataset of a name in this very file; None where there is none.

        Raises:
            InputError: A link on the way, or the dataset's content, leads to another place.
            ExportDamagedError: There is something else, or less than a file of ours holds.
        """
        found = self._file
        for part in name.split("/"):
            link = found.get(part, getlink=True) if isinstance(found, h5py.Group) else None
            if link is None:
                return None
            if type(link) is not h5py.HardLink:
                raise self._elsewhere(name, "is a link to another place")
            found = found[part]
        if not isinstance(found, h5py.Dataset) or found.dtype.kind not in "iuf":
            raise ExportDamagedError(self._path, f"{name}: expected numbers, found something else")
        if found.is_virtual or found.external:
            raise self._elsewhere(name, "keeps its values in another file")
        if name.startswith(FILES):
            self._require_there(name, found, found.size)
        return found

    def _require_there(self, name: str, dataset: Any, values: int) -> None:  # noqa: ANN401
        """Refuse a dataset that says to have values that take more bytes than it has."""
        packed = MOST_COMPRESSED if dataset.compression else 1
        if values * dataset.dtype.itemsize > packed * dataset.id.get_storage_size():
            raise ExportDamagedError(self._path, f"{name}: it has fewer bytes than it says")

    def _elsewhere(self, name: str, how: str) -> InputError:
        return InputError(
            f"{self._path}: {EXPORTS}, which holds everything itself; {name} {how}, so do not use "
            f"the file"
        )

    def _require_whole(self) -> None:
        with self._explained("its attributes"):
            marks = self._file.attrs
            found = _text(marks.get("format", "an HDF5 file without its mark"))
            told = json.loads(marks.get("fingerprint", "null")) if found == EXPORT_FORMAT else None
        if found != EXPORT_FORMAT:
            raise InputError(f"{self._path}: {EXPORTS} ({EXPORT_FORMAT!r}), got {found!r}")
        try:
            if read_header(self).attributes["fingerprint"] != told:
                raise CacheError(f"the fingerprint is not the one in {FILES}{GROUP}")
            self._require_small_files()
        except ExportDamagedError:
            raise
        except CacheError as error:
            why = str(error).removeprefix(f"{self._path}: ").partition(";")[0]
            raise ExportDamagedError(self._path, why) from None

    def _require_small_files(self) -> None:
        """Refuse a file in which anything but tokens is damaged; those are checked when read."""
        for key, wanted in require_plan_files(self).items():
            read_checked(self, key, wanted)
        require_markers(self, self.plan)
        regions = int(self.plan.region_count.sum())
        for array in self._part_arrays.values():
            rows = regions if array.of_regions else self.plan.image_count
            with self._explained(array.name):
                values = self._values(array.name, array.shape, array.dtype)
                self._require_there(array.name, values, rows * math.prod(array.shape[1:]))

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        try:
            yield
        except (CacheError, InputError):
            raise
        except Exception as error:  # h5py raises whatever a damaged file leads it to
            raise ExportDamagedError(self._path, f"{what}: {_line(error)}") from None


def _open(path: Path) -> Any:  # noqa: ANN401 - h5py is untyped
    if not path.is_file():
        raise InputError(f"{path}: {EXPORTS}, got {'a folder' if path.is_dir() else 'no file'}")
    if not h5py.is_hdf5(path):
        raise InputError(f"{path}: {EXPORTS}, got a file that is not HDF5")
    try:
        return h5py.File(path, "r", locking="best-effort")
    except PermissionError:
        raise InputError(f"{path}: no permission to read it") from None
    except Exception as error:  # h5py raises whatever a damaged file leads it to
        raise ExportDamagedError(path, _line(error)) from None


def _text(value: Any) -> str:  # noqa: ANN401 - h5py is untyped
    return value.decode() if isinstance(value, bytes) else str(value)


def _line(error: Exception) -> str:
    """The error's own words; HDF5 puts them in brackets, behind the names of its calls."""
    text = " ".join(str(error).strip("'").split())
    if isinstance(error, OSError | KeyError | RuntimeError) and text.endswith(")"):
        return text[text.find("(") + 1 : -1]
    return text or type(error).__name__
