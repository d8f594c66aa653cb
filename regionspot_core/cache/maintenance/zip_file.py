"""A finished store in one zip: its own files, uncompressed, as zarr-python opens them."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from regionspot_core.cache.layout.plan import CachePlan
from regionspot_core.cache.layout.schema import GROUP, part_arrays
from regionspot_core.cache.layout.shards import Pieces
from regionspot_core.cache.maintenance.copying import read_checked, require_plan_files
from regionspot_core.cache.maintenance.export import Export
from regionspot_core.cache.storage.arrays import read_header
from regionspot_core.cache.storage.markers import COMPLETE, PLAN_FILES, marker_key, require_markers
from regionspot_core.cache.storage.store import Store, require_key
from regionspot_core.errors import CacheDamagedError, CacheError, InputError
from regionspot_core.support.input_files import kind_of
from regionspot_core.text.class_bank import HDF5

WHEN = (1980, 1, 1, 0, 0, 0)
"""Date of every entry, the first that a zip can say: the same store is the same bytes."""
PLAIN_FILE = 0o644 << 16
EXPECTED = "expected a zip that `regionspot extract export` wrote"


class ZipFileStore(Store):
    """The files of a store in a zip. All but the tokens are checked when it is opened.

    Raises:
        InputError: If the file is missing or no such zip, or an entry is compressed, a link, comes
            twice, or has a name that leads out of the store.
        CacheDamagedError: If it is cut off or damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        if not path.is_file():
            raise InputError(f"{path}: {EXPECTED}, got {kind_of(path)}")
        with self._explained():
            if _is_hdf5(path):
                raise InputError(
                    f"{path}: {EXPECTED}, got an HDF5 file, which is for other programs to read; "
                    f"export the store again, to a name that ends in .zip"
                )
            self._file = zipfile.ZipFile(path)
        try:
            with self._explained():
                self._entries = self._require_plain_entries()
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
        entry = self._entries.get(require_key(key))
        if entry is None:
            return None
        with self._explained():
            return self._file.read(entry)

    def read_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """See :class:`Store`."""
        return [self.read(key) for key in keys]

    def write(self, key: str, pieces: Pieces) -> None:
        """Refuse to write: a zip is only read.

        Raises:
            CacheError: Always.
        """
        raise CacheError(f"{self._path}: an exported store is only read; import it to go on")

    def delete(self, key: str) -> None:
        """See :meth:`write`."""
        self.write(key, [])

    def keys(self) -> list[str]:
        """See :class:`Store`."""
        return list(self._entries)

    def kvstore(self, key: str) -> dict[str, Any]:
        """Refuse to read through TensorStore: that reads from a folder or a URL.

        Raises:
            CacheError: Always.
        """
        raise CacheError(f"{self._path}: `regionspot extract import` it, or read it with zarr")

    def _require_plain_entries(self) -> dict[str, zipfile.ZipInfo]:
        """Return the entries by name; all are plain files that lie whole in the zip."""
        entries: dict[str, zipfile.ZipInfo] = {}
        for entry in self._file.infolist():
            name = entry.filename
            try:
                require_key(entry.orig_filename)
            except CacheError:
                raise self._unexpected(name, "leads out of the store") from None
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if entry.is_dir() or kind not in (0, stat.S_IFREG):
                raise self._unexpected(name, "is not a plain file")
            if name in entries:
                raise self._unexpected(name, "comes twice")
            if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
                raise self._unexpected(name, "is compressed or encrypted")
            if entry.file_size != entry.compress_size:
                raise self._unexpected(name, "says another size than it has")
            entries[name] = entry
        if sum(entry.file_size for entry in entries.values()) > self._path.stat().st_size:
            raise InputError(f"{self._path}: {EXPECTED}; entries overlap, so do not use it")
        return entries

    def _require_whole(self) -> None:
        if GROUP not in self._entries:
            raise InputError(f"{self._path}: {EXPECTED}, got a zip without {GROUP}")
        planned = require_plan_files(self)
        for key, wanted in planned.items():
            read_checked(self, key, wanted)
        arrays, known = part_arrays(self.plan), {*planned, PLAN_FILES, COMPLETE}
        for marker in require_markers(self, self.plan):
            known.add(marker_key(marker.part))
            for array, wanted in marker.files.items():
                key = arrays[array].file(marker.part)
                known.add(key)
                entry = self._entries.get(key)
                if entry is None or entry.file_size != wanted.size:
                    state = "missing" if entry is None else "of another size"
                    raise CacheDamagedError(f"{self._path}: {key} is {state}; get the file again")
        foreign = next((name for name in self._entries if name not in known), None)
        if foreign is not None:
            raise self._unexpected(foreign, "is no file of the store")

    def _unexpected(self, name: str, how: str) -> InputError:
        return InputError(f"{self._path}: {EXPECTED}; its entry {name!r} {how}, so do not use it")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (CacheError, InputError):
            raise
        except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError) as error:
            raise CacheDamagedError(
                f"{self._path}: no zip, or one that is damaged or cut off ({error}); get it again"
            ) from None
        except OSError as error:
            raise InputError(f"{self._path}: cannot be read ({error.strerror or error})") from None


def _is_hdf5(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(HDF5)) == HDF5


class ZipExport(Export):
    """A finished store, to be written to one zip of its own files."""

    def is_at(self, path: Path) -> bool:
        """Return whether an export of this very store is at the path; it is not read whole."""
        if not path.is_file():
            return False
        keys = self._sealed_keys()
        try:
            with ZipFileStore(path) as written:
                return written.read_many(keys) == self._store.read_many(keys)
        except (CacheError, InputError):
            return False

    def _write(self, path: Path, on_bytes: Callable[[int], None]) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
            for key, content in self._files(on_bytes):
                entry = zipfile.ZipInfo(key, WHEN)
                entry.external_attr = PLAIN_FILE
                file.writestr(entry, content)

    def _files(self, on_bytes: Callable[[int], None]) -> Iterator[tuple[str, bytes]]:
        yield from self._plan_files()
        yield PLAN_FILES, self._store.read(PLAN_FILES) or b""
        for marker in self._markers:
            for _, key, content in self._part_files(marker):
                yield key, content
                on_bytes(len(content))
            yield marker_key(marker.part), self._store.read(marker_key(marker.part)) or b""
        if (complete := self._store.read(COMPLETE)) is not None:
            yield COMPLETE, complete
