"""Putting files on the disk and out of the page cache, and looking whether they are out."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterable
from pathlib import Path

COLD_SHARE = 0.05
"""A file with no more of its pages in memory counts as cold."""


def put_on_disk(path: Path) -> None:
    """Wait until the file's bytes are on the disk; pages that are not cannot be put out."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def put_out(paths: Iterable[Path]) -> None:
    """Ask the system to forget the files' pages. Does nothing where the system has no such call."""
    if not hasattr(os, "posix_fadvise"):
        return
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def can_be_cold(paths: list[Path]) -> bool:
    """Put files out of the page cache, and return whether that works here."""
    put_out(paths)
    shares = [resident_share(path) for path in paths if path.stat().st_size]
    return all(share is not None and share <= COLD_SHARE for share in shares)


def resident_share(path: Path) -> float | None:
    """Return the share of a file's pages in memory, by ``mincore``; None if the system lacks it."""
    size = path.stat().st_size
    try:
        mincore = ctypes.CDLL(None, use_errno=True).mincore
    except (OSError, AttributeError, TypeError):
        return None
    pages = (ctypes.c_ubyte * -(-size // mmap.PAGESIZE))()
    # Private and writable, so that ctypes may take its address; nothing is written.
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY) as mapped,
    ):
        start = ctypes.c_char.from_buffer(mapped)
        failed = mincore(ctypes.c_void_p(ctypes.addressof(start)), ctypes.c_size_t(size), pages)
        del start  # or the map could not be closed
    return None if failed else sum(page & 1 for page in pages) / len(pages)
