"""Listing the files of a zip, from its directory at the end."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from regionspot_core.errors import InputError
from regionspot_core.imaging.sources.archive import Member
from regionspot_core.support.error_text import one_line

_ENCRYPTED = 0x1
_MOST_BYTES = 2**63
_METHODS = {zipfile.ZIP_STORED: False, zipfile.ZIP_DEFLATED: True}


def zip_members(path: Path, file: BinaryIO) -> Iterator[Member]:
    """Yield the files of a zip, folders left out.

    Raises:
        InputError: It is damaged.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
        raise InputError(f"{path}: the zip cannot be read ({one_line(error)})") from None
    length = file.seek(0, 2)
    for info in infos:
        if info.header_offset + info.compress_size > length or info.file_size >= _MOST_BYTES:
            raise InputError(f"{path}: the zip cannot be read (it ends within {info.filename})")
        if not info.is_dir():
            yield Member(
                name=info.filename.replace("\\", "/"),  # as some programs of Windows write it
                start=info.header_offset,
                stored=info.compress_size,
                size=info.file_size,
                crc=info.CRC,
                deflated=_METHODS.get(info.compress_type, False),
                zipped=True,
                problem=_problem(info),
            )


def _problem(info: zipfile.ZipInfo) -> str:
    if info.flag_bits & _ENCRYPTED:
        return "is encrypted; unpack the zip with its password"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "is a link; pack what it leads to"
    if info.compress_type not in _METHODS:
        return "is compressed in a way other than deflate; unpack the zip, or pack it by `zip -0`"
    return ""
