"""Finding out what is at a location: a folder of images, or archives of them."""

from __future__ import annotations

import os
from pathlib import Path

from regionspot_core.errors import InputError
from regionspot_core.imaging.sources.archive import Archive, ArchiveImages, FileState
from regionspot_core.imaging.sources.folder import FolderImages
from regionspot_core.imaging.sources.source import ImageSource, is_image_name
from regionspot_core.imaging.sources.tar_files import tar_members
from regionspot_core.imaging.sources.zip_files import zip_members
from regionspot_core.support.input_files import open_input
from regionspot_core.support.patterns import match_pattern
from regionspot_core.support.prefetch import map_ahead

ARCHIVES = (".tar", ".zip")
THREADS = 8
EXPECTED = "a folder of images, a zip, a tar or a pattern of them"
_ZIP = (b"PK\3\4", b"PK\5\6")
"""Beginnings of a zip with files and without; a tar of the folder ``PKLot`` begins with PK too."""
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7z": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


def open_images(location: Path) -> ImageSource:
    """Return the images at a location.

    Args:
        location: A folder of images; a zip or a tar of them; a folder with nothing but such
            archives and files beside them; or a pattern of their paths, such as ``{0..9}.tar`` or
            ``*.zip``. Archives are read where they are: nothing is unpacked.

    Raises:
        InputError: Nothing is there, or an archive cannot be used; see
            :class:`~regionspot_core.imaging.sources.archive.ArchiveImages`.
    """
    if location.is_dir():
        archives = _only_archives(location)
        if not archives:
            return FolderImages(location)
    else:
        archives = match_pattern(location, option="--images", expected=EXPECTED)
    listed = map_ahead(_list_files, archives, workers=min(THREADS, len(archives)))
    return ArchiveImages(location, listed)


def holds_images(location: Path) -> bool:
    """Return whether there is something at a location that :func:`open_images` may open."""
    try:
        return bool(match_pattern(location, option="--images", expected=EXPECTED))
    except InputError:
        return False


def _only_archives(folder: Path) -> list[Path]:
    """Return a folder's archives; none where it has images or folders too."""
    archives = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_image_name(entry.name) or entry.is_dir():
                return []
            if Path(entry.name).suffix.lower() in ARCHIVES:
                archives.append(folder / entry.name)
    return sorted(archives)


def _list_files(path: Path) -> Archive:
    """Read an archive's list of files."""
    try:
        with open_input(path, buffering=0) as file:
            state = FileState.of(file.fileno())
            start = file.read(4)
            file.seek(0)
            for opening, method in _COMPRESSED.items():
                if start.startswith(opening):
                    raise InputError(
                        f"{path}: compressed by {method}, nothing can be read from its middle; "
                        f"unpack it to a plain tar, which for images is hardly larger"
                    )
            members = zip_members if start.startswith(_ZIP) else tar_members
            return Archive(path, tuple(members(path, file)), state)
    except OSError as error:
        raise InputError(
            f"{path}: expected {EXPECTED}; it cannot be read ({error.strerror})"
        ) from None
