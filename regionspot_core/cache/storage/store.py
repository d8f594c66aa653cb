"""Files of a store: in a folder, or at a URL that TensorStore reaches.

Files are named by keys, relative to the store with ``/`` between, on every system. A key comes
from a file that somebody may have sent, so that no kind of store takes one that leads out of it.
"""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from regionspot_core.cache.layout.shards import Pieces
from regionspot_core.cache.location import Location
from regionspot_core.cache.storage.buckets import bucket_error, bucket_spec, open_bucket
from regionspot_core.errors import CacheError
from regionspot_core.support.error_text import reason_of
from regionspot_core.support.files import written_aside
from regionspot_core.support.input_files import kind_of, open_input

SCHEMES = ("s3", "gs")
_URL = re.compile(r"^([a-z][a-z0-9+.-]*)://")
_OUTSIDE = re.compile(r"[\x00\\:]|(^|/)(\.{0,2})(/|$)")
"""Parts of a key that lead out: NUL, Windows's separators, ``/a``, ``a//b``, ``.``, ``..``."""
_PIECES_A_CALL = 1024
"""POSIX lets a system take no more buffers in one call (IOV_MAX)."""
_BLOCK = 1 << 22
"""Bytes read at once where a file's content is only looked over."""


def require_key(key: str) -> str:
    """Return the key of a file inside a store, whatever the system.

    Raises:
        CacheError: If the key is absolute, or has ``..``, an empty name, a backslash, a colon or
            NUL in it.
    """
    if _OUTSIDE.search(key):
        raise CacheError(
            f"{key!r}: expected the name of a file inside the store, such as 'image/id/c/0'; the "
            f"store names a file outside of it, so do not use it"
        )
    return key


class Store(ABC):
    """The files of one store."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The folder or URL, as messages say it."""

    @abstractmethod
    def read(self, key: str) -> bytes | None:
        """Read a whole file; None if there is none."""

    @abstractmethod
    def read_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Read whole small files; None for each that is missing."""

    @abstractmethod
    def write(self, key: str, pieces: Pieces) -> None:
        """Write a file, whole or not at all; once this returns it survives a loss of power."""

    def write_many(self, files: Mapping[str, Pieces]) -> None:
        """Write files, each as :meth:`write` does, all at once: the disk is waited for but once."""
        with ThreadPoolExecutor(max(1, len(files))) as threads:
            list(threads.map(self.write, files.keys(), files.values()))

    @abstractmethod
    def delete(self, key: str) -> None:
        """Delete a file, if it is there."""

    @abstractmethod
    def keys(self) -> list[str]:
        """Return the key of every file; it lists the whole store, which may take long."""

    def blocks(self, key: str) -> Iterator[bytes]:
        """Yield a file's content, piece by piece; nothing if there is no file."""
        content = self.read(key)
        if content is not None:
            yield content

    @abstractmethod
    def kvstore(self, key: str) -> dict[str, Any]:
        """Return TensorStore's specification of the folder at ``key``."""

    def __str__(self) -> str:
        return self.name


def open_store(location: Location | Store) -> Store:
    """Return the store at a folder or URL, which need not exist yet.

    Raises:
        CacheError: If it is a URL of a kind that no driver here reaches.
    """
    if isinstance(location, Store):
        return location
    url = _URL.match(str(location))
    if url is None:
        return FolderStore(Path(location))
    if url[1] not in SCHEMES:
        raise CacheError(
            f"{location}: expected a folder, s3://bucket/path or gs://bucket/path, got {url[1]}://"
        )
    return ObjectStore(str(location))


class FolderStore(Store):
    """A folder on a local or shared disk."""

    def __init__(self, folder: Path) -> None:
        # Its lock and its unfinished folder lie beside it, under names that begin with its own.
        self.folder = folder if folder.name not in ("", "..") else folder.resolve()
        if not self.folder.name:
            raise CacheError(
                f"{folder}: expected a folder for a store, got the root of the file system"
            )

    @property
    def name(self) -> str:
        """The folder."""
        return str(self.folder)

    def read(self, key: str) -> bytes | None:
        """See :class:`Store`."""
        with self._explained(key):
            try:
                with open_input(self._path(key)) as file:
                    return file.read()
            except (FileNotFoundError, NotADirectoryError):
                return None

    def read_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """See :class:`Store`."""
        return [self.read(key) for key in keys]

    def write(self, key: str, pieces: Pieces) -> None:
        """See :class:`Store`."""
        path = self._path_to_write(key)
        with self._explained(key):
            path.parent.mkdir(parents=True, exist_ok=True)
            with written_aside(path) as partial, partial.open("wb", buffering=0) as file:
                _write_pieces(file.fileno(), pieces)

    def delete(self, key: str) -> None:
        """See :class:`Store`."""
        path = self._path_to_write(key)
        with self._explained(key):
            path.unlink(missing_ok=True)

    def keys(self) -> list[str]:
        """See :class:`Store`."""
        with self._explained(""):
            return [
                path.relative_to(self.folder).as_posix()
                for path in self.folder.rglob("*")
                if not path.is_dir()
            ]

    def blocks(self, key: str) -> Iterator[bytes]:
        """See :class:`Store`."""
        with (
            self._explained(key),
            open_input(self._path(key), buffering=0) as file,
        ):
            while block := file.read(_BLOCK):
                yield block

    def kvstore(self, key: str) -> dict[str, Any]:
        """See :class:`Store`."""
        return {"driver": "file", "path": f"{self._path(key).absolute()}/"}

    def _path(self, key: str) -> Path:
        return self.folder / require_key(key)

    def _path_to_write(self, key: str) -> Path:
        """Return the path at which to write or delete a file; no link leads it out of the store.

        Raises:
            CacheError: If a folder on the way is such a link, or the place is taken by a folder, a
                pipe or a device.
        """
        path = self._path(key)
        with self._explained(key):
            inside = Path(os.path.realpath(self.folder))
            if not Path(os.path.realpath(path.parent)).is_relative_to(inside):
                raise CacheError(
                    f"{self.folder}: {key}: a link leads out of the store; nothing is written "
                    f"through it. Put a folder in its place"
                )
            if path.is_symlink():
                path.unlink()  # a new file takes a link's place, never that of what it points to
            elif path.exists() and not path.is_file():
                raise CacheError(
                    f"{self.folder}: {key}: expected a file or nothing, found {kind_of(path)}; "
                    f"move it away"
                )
        return path

    @contextmanager
    def _explained(self, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CacheError(f"{self.folder}: {key}: {reason_of(error)}") from None


class ObjectStore(Store):
    """A bucket's objects below a URL, through TensorStore's own drivers."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._opened: Any = None

    @property
    def name(self) -> str:
        """The URL."""
        return self._url

    def read(self, key: str) -> bytes | None:
        """See :class:`Store`."""
        return self.read_many([key])[0]

    def read_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """See :class:`Store`."""
        names = [require_key(key) for key in keys]  # before the bucket is asked for anything
        with self._explained(names[0] if names else ""):
            pending = [self._objects.read(name) for name in names]
            results = [read.result() for read in pending]
        return [bytes(each.value) if each.state == "value" else None for each in results]

    def write(self, key: str, pieces: Pieces) -> None:
        """See :class:`Store`."""
        with self._explained(require_key(key)):
            self._objects.write(key, b"".join(pieces)).result()

    def delete(self, key: str) -> None:
        """See :class:`Store`."""
        with self._explained(require_key(key)):
            self._objects.write(key, None).result()

    def keys(self) -> list[str]:
        """See :class:`Store`."""
        with self._explained(""):
            return [key.decode() for key in self._objects.list().result()]

    def kvstore(self, key: str) -> dict[str, Any]:
        """See :class:`Store`."""
        return bucket_spec(self._url, key)

    @property
    def _objects(self) -> Any:  # noqa: ANN401 - TensorStore is untyped
        if self._opened is None:
            self._opened = open_bucket(self._url)
        return self._opened

    @contextmanager
    def _explained(self, key: str) -> Iterator[None]:
        try:
            yield
        except (ValueError, OSError, RuntimeError) as error:
            raise bucket_error(self._url, key, error) from None


def _write_pieces(descriptor: int, pieces: Pieces) -> None:
    """Write buffers one behind the other, copying none of them."""
    waiting = [memoryview(piece).cast("B") for piece in pieces]
    first = 0
    while first < len(waiting):
        written = os.writev(descriptor, waiting[first : first + _PIECES_A_CALL])
        while first < len(waiting) and written >= len(waiting[first]):
            written -= len(waiting[first])
            first += 1
        if written:
            waiting[first] = waiting[first][written:]
