"""A results file that may be packed with gzip: its bytes as they were before."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import BinaryIO, cast

from regionspot_core.errors import AnnotationError
from regionspot_core.support.input_files import open_input

_MAGIC = b"\x1f\x8b"
FREE_BYTES = 256 * 1024**2
"""Size to which any packed file may grow."""
MOST_GROWTH = 200
"""Largest size over the packed one beyond that. Results grow five to fifty times; a file that was
made to fill the memory, a thousand times."""


def open_packed(path: Path) -> BinaryIO:
    """Open a file to read its bytes, unpacked if they are gzip's, whatever its name.

    Reading raises :class:`AnnotationError` where the packed bytes are damaged or cut short.

    Raises:
        OSError: If it is missing, no regular file, or cannot be read.
    """
    file = open_input(path)
    if file.peek(len(_MAGIC))[: len(_MAGIC)] != _MAGIC:  # type: ignore[attr-defined]
        return file
    size = path.stat().st_size
    return cast("BinaryIO", _Unpacked(file, path, limit=max(FREE_BYTES, MOST_GROWTH * size)))


class _Unpacked(gzip.GzipFile):
    """Bytes that a packed file holds."""

    def __init__(self, file: BinaryIO, path: Path, *, limit: int) -> None:
        super().__init__(fileobj=file, mode="rb")
        self._packed = file
        self._path = path
        self._limit = limit

    def read(self, size: int | None = -1) -> bytes:
        """Read bytes; see :func:`open_packed`."""
        try:
            content = super().read(size)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise AnnotationError(
                f"{self._path}: expected whole gzip data ({error}); it is damaged or cut short"
            ) from None
        if self.tell() > self._limit:
            raise AnnotationError(
                f"{self._path}: expected results, which gzip packs to a fiftieth at best; its "
                f"content is more than {MOST_GROWTH} times as large. Unpack it if you trust it"
            )
        return content

    def close(self) -> None:
        """Close both files."""
        super().close()
        self._packed.close()
