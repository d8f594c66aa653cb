"""Where a store's files lie: a folder, or a URL that TensorStore reaches.

Files are named by keys, relative to the store with ``/`` between, on every system.
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

import tensorstore as ts

from regionspot_core.cache.shards import Pieces
from regionspot_core.errors import CacheError
from regionspot_core.files import reason_of, written_aside

SCHEMES = ("s3", "gs")
_URL = re.compile(r"^([a-z][a-z0-9+.-]*)://")
_PIECES_A_CALL = 1024
"""POSIX lets a system take no more buffers in one call (IOV_MAX)."""
_BLOCK = 1 << 22
"""Bytes read at once where a file's content is only looked over."""

RETRIES = {"max_retries": 6, "initial_delay": "500ms", "max_delay": "8s"}
"""Half a minute: TensorStore's own patience is a quarter of an hour."""

Location = Path | str
"""A folder, or a URL such as ``s3://bucket/path``."""


class Store(ABC):
    """The files of one store."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The folder or URL, as messages say it."""

    @abstractmethod
    def read(self, key: str) -> bytes | None:
        """A whole file; None where there is none."""

    @abstractmethod
    def read_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Whole small files; None for each that is not there."""

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
        """Every file. It lists the whole store, which may take long."""

    def blocks(self, key: str) -> Iterator[bytes]:
        """A file's content, piece by piece; nothing where there is none."""
        content = self.read(key)
        if content is not None:
            yield content

    @abstractmethod
    def kvstore(self, key: str) -> dict[str, Any]:
        """TensorStore's specification of the folder at ``key``."""

    def __str__(self) -> str:
        return self.name


def open_store(location: Location | Store) -> Store:
    """The store at a folder or URL, which need not exist yet.

    Raises:
        CacheError: It is a URL of a kind that no driver here reaches.
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
        self.folder = folder

    @property
    def name(self) -> str:
        """The folder."""
        return str(self.folder)

    def read(self, key: str) -> bytes | None:
        """See :class:`Store`."""
        with self._explained(key):
            try:
                return (self.folder / key).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None

    def read_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """See :class:`Store`."""
        return [self.read(key) for key in keys]

    def write(self, key: str, pieces: Pieces) -> None:
        """See :class:`Store`."""
        path = self.folder / key
        with self._explained(key):
            path.parent.mkdir(parents=True, exist_ok=True)
            with written_aside(path) as partial, partial.open("wb", buffering=0) as file:
                _write_pieces(file.fileno(), pieces)

    def delete(self, key: str) -> None:
        """See :class:`Store`."""
        with self._explained(key):
            (self.folder / key).unlink(missing_ok=True)

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
        with self._explained(key), (self.folder / key).open("rb", buffering=0) as file:
            while block := file.read(_BLOCK):
                yield block

    def kvstore(self, key: str) -> dict[str, Any]:
        """See :class:`Store`."""
        return {"driver": "file", "path": f"{(self.folder / key).absolute()}/"}

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
        with self._explained(keys[0] if keys else ""):
            pending = [self._objects.read(key) for key in keys]
            found = [read.result() for read in pending]
        return [bytes(each.value) if each.state == "value" else None for each in found]

    def write(self, key: str, pieces: Pieces) -> None:
        """See :class:`Store`."""
        with self._explained(key):
            self._objects.write(key, b"".join(pieces)).result()

    def delete(self, key: str) -> None:
        """See :class:`Store`."""
        with self._explained(key):
            self._objects.write(key, None).result()

    def keys(self) -> list[str]:
        """See :class:`Store`."""
        with self._explained(""):
            return [key.decode() for key in self._objects.list().result()]

    def kvstore(self, key: str) -> dict[str, Any]:
        """See :class:`Store`."""
        scheme, rest = self._url.split("://", 1)
        bucket, _, path = rest.partition("/")
        below = "/".join(part for part in (path, key) if part) + "/"
        if scheme == "gs":
            return {"driver": "gcs", "bucket": bucket, "path": below}
        # TensorStore looks for no such variable itself, as Amazon's own clients do.
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        spec = {"driver": "s3", "bucket": bucket, "path": below, "s3_request_retries": RETRIES}
        return spec | ({"endpoint": endpoint} if endpoint else {})

    @property
    def _objects(self) -> Any:  # noqa: ANN401 - TensorStore is untyped
        if self._opened is None:
            self._opened = ts.KvStore.open(self.kvstore("")).result()
        return self._opened

    @contextmanager
    def _explained(self, key: str) -> Iterator[None]:
        try:
            yield
        except (ValueError, OSError, RuntimeError) as error:
            raise CacheError(f"{self._url}: {key}: {str(error).splitlines()[0]}") from None


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
