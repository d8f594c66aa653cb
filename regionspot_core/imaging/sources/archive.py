"""Images in zip and tar files, read in any order from where they lie in them."""

from __future__ import annotations

import io
import os
import posixpath
import struct
import zlib
from array import array
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from regionspot_core.errors import ImageError, InputError
from regionspot_core.imaging.images import ImageHeader, opened_image, read_header
from regionspot_core.imaging.sources.source import ImageSource, is_image_name
from regionspot_core.support.input_files import open_regular

HEADER_BYTES = 1 << 16
"""Bytes from which an image's size is nearly always known."""
DEFLATE_GROWTH = 8
"""Deflate makes content longer by an eighth at most: nine bits a byte (RFC 1951, 3.2.6)."""
DEFLATE_SLACK = 1 << 10
"""Bytes that deflate may add to short content besides."""
NO_CRC = -1
"""Checksum of a file in a tar, which has none."""
ZIP_HEADER = struct.Struct("<4s22xHH")
"""Signature, and lengths of name and extra field (APPNOTE.TXT 4.3.7)."""


class Member(NamedTuple):
    """One file in an archive."""

    name: str
    """As the archive has it."""
    start: int
    """Byte of the archive at which the member begins: its content, or a zip's header before it."""
    stored: int
    """Bytes in the archive."""
    size: int
    """Bytes of the content."""
    crc: int = NO_CRC
    """CRC-32 of the content."""
    deflated: bool = False
    zipped: bool = False
    """Whether a zip's header is before the content."""
    problem: str = ""
    """Reason why an image cannot be read where it lies, for a message: ``is a link``."""


class FileState(NamedTuple):
    """State of a file, which tells whether it changed."""

    size: int
    changed: int

    @classmethod
    def of(cls, descriptor: int) -> FileState:
        """Return the state of an open file."""
        status = os.fstat(descriptor)
        return cls(status.st_size, status.st_mtime_ns)


class Archive(NamedTuple):
    """One archive and its files."""

    path: Path
    members: Sequence[Member]
    state: FileState
    """State of the archive before its files were listed."""


class _Entry(NamedTuple):
    """A file of the index."""

    name: str
    archive: int
    """Number of its archive."""
    start: int
    stored: int
    size: int
    crc: int
    deflated: int
    zipped: int


class ArchiveImages(ImageSource):
    """The images of one or more archives.

    The folders that all images of an archive lie in may be left out of a name: ``train2017.zip``
    has ``train2017/1.jpg``, which COCO's annotations call ``1.jpg``.

    Raises:
        InputError: If an image's name leads out of the archive or comes twice, or an image cannot
            be read where it lies: it is encrypted, a link, or compressed by a rare method.
    """

    def __init__(self, location: Path, archives: Iterable[Archive]) -> None:
        super().__init__(location)
        self._archives: list[tuple[Path, FileState]] = []
        self._place: dict[str, int] = {}
        # Plain numbers: objects for the files of a large data set would take gigabytes.
        self._numbers = array("q")
        tops = {_common_folder(self._add(archive)) for archive in archives}
        self._tops = [f"{top}/" for top in sorted(tops - {""})]

    def names(self) -> Sequence[str]:
        """Return the names of the files that end as images do, sorted."""
        return sorted(filter(_is_image, self._place))

    def contains(self, name: str) -> bool:
        """Return whether there is a file of this name."""
        return self._find(name) is not None

    def place(self, name: str) -> Path:
        """Return where a file is, or would be: its archive, and its name in that."""
        found = self._find(name)
        return self.location / name if found is None else self._path(found) / found.name

    def file_bytes(self, name: str) -> int | None:
        """Return the size of a file in bytes, not compressed; None where there is none."""
        found = self._find(name)
        return None if found is None else found.size

    def header(self, name: str) -> ImageHeader:
        """Return what an image's header says; its pixels are not decoded.

        Raises:
            ImageError: The file is missing, or no image of a known format.
        """
        found = self._find(name)
        if found is not None and found.size > HEADER_BYTES:
            # A longer header, or one that is at the end, needs the whole file.
            with (
                suppress(ImageError),
                opened_image(
                    lambda: io.BytesIO(self._content(found, HEADER_BYTES)), self.place(name)
                ) as file,
            ):
                return read_header(file)
        return super().header(name)

    def _open(self, name: str, *, most_bytes: int) -> BinaryIO:
        found = self._find(name)
        if found is None:
            raise FileNotFoundError
        if found.size > most_bytes:
            raise ImageError(
                f"a file of {found.size:,} bytes is more than --max-pixels allows; give a larger "
                f"one, or make the image smaller"
            )
        content = self._content(found, found.size)
        if found.crc != NO_CRC and zlib.crc32(content) != found.crc:
            raise ImageError("the archive is damaged here (the checksum differs)")
        return io.BytesIO(content)

    def _content(self, entry: _Entry, count: int) -> bytes:
        """Return the first bytes of a file's content."""
        path, state = self._archives[entry.archive]
        descriptor = open_regular(path)
        try:
            if state != FileState.of(descriptor):
                raise ImageError("the archive changed since its files were listed")
            start = entry.start + (_zip_header(descriptor, entry.start) if entry.zipped else 0)
            if entry.deflated:
                most = count + count // DEFLATE_GROWTH + DEFLATE_SLACK
                stored = _read_at(descriptor, start, min(entry.stored, most))
                content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(stored, count)
            else:
                content = _read_at(descriptor, start, count)
        finally:
            os.close(descriptor)
        if len(content) < count:
            raise ImageError("the archive is damaged here (it ends too early)")
        return content

    def _find(self, name: str) -> _Entry | None:
        if name in self._place:
            return self._entry(name)
        found = [top + name for top in self._tops if top + name in self._place]
        if len(found) > 1:
            raise ImageError(f"{self.location}: {name} may be {' or '.join(found)}")
        return self._entry(found[0]) if found else None

    def _entry(self, name: str) -> _Entry:
        place = self._place[name]
        return _Entry(name, *self._numbers[place : place + len(_Entry._fields) - 1])

    def _path(self, entry: _Entry) -> Path:
        return self._archives[entry.archive][0]

    def _add(self, archive: Archive) -> list[str]:
        """Add an archive's files; return the names of its images."""
        images = []
        for member in archive.members:
            name = _clean(member.name)
            if _is_image(name):
                self._require_readable(archive.path, name, member)
                images.append(name)
            self._place[name] = len(self._numbers)
            self._numbers.append(len(self._archives))
            self._numbers.extend(int(value) for value in member[1:-1])
        self._archives.append((archive.path, archive.state))
        return images

    def _require_readable(self, path: Path, name: str, member: Member) -> None:
        if name.startswith("/") or ".." in name.split("/") or name[1:2] == ":":
            raise InputError(
                f"{path}: expected names inside the archive, got {member.name!r}; pack the images "
                f"again from the folder that they are in"
            )
        if member.problem:
            raise InputError(f"{path}: {name} {member.problem}")
        if name in self._place:
            places = [path for path, _ in self._archives]
            other = [*places, path][self._entry(name).archive]
            where = "twice in it" if other == path else f"in {other} too"
            raise InputError(
                f"{path}: {name} is {where}, and which one is meant cannot be known; give images "
                f"different names"
            )


def _is_image(name: str) -> bool:
    return is_image_name(name) and not name.startswith("__MACOSX/")


def _clean(name: str) -> str:
    """Return a member's name without ``./``, which tar puts before names."""
    return posixpath.normpath(name) if name.startswith("./") and ".." not in name else name


def _common_folder(names: Sequence[str]) -> str:
    """Return the folders that all files lie in; an empty text where there are none."""
    return posixpath.commonpath(list({posixpath.dirname(name) for name in names})) if names else ""


def _zip_header(descriptor: int, start: int) -> int:
    """Return the length of a zip's header before a file's content, which the directory lacks."""
    header = _read_at(descriptor, start, ZIP_HEADER.size)
    if len(header) < ZIP_HEADER.size:
        raise ImageError("the archive is damaged here (it ends too early)")
    signature, name, extra = ZIP_HEADER.unpack(header)
    if signature != b"PK\3\4":
        raise ImageError("the archive is damaged here (no zip header)")
    return ZIP_HEADER.size + int(name) + int(extra)


def _read_at(descriptor: int, start: int, count: int) -> bytes:
    """Read at a place, whatever other threads and processes read; fewer bytes at the end."""
    content = os.pread(descriptor, count, start)
    while len(content) < count and (
        more := os.pread(descriptor, count - len(content), start + len(content))
    ):
        content += more
    return content
