"""Listing the files of a tar, from the headers before each of them."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from regionspot_core.errors import InputError
from regionspot_core.imaging.sources.archive import Member
from regionspot_core.support.error_text import one_line

BLOCK = tarfile.BLOCKSIZE


def tar_members(path: Path, file: BinaryIO) -> Iterator[Member]:
    """Yield the files of a tar that is not compressed, folders left out.

    Raises:
        InputError: It is damaged, or no tar.
    """
    size = file.seek(0, 2)
    file.seek(0)
    try:
        with tarfile.open(fileobj=file, mode="r:", errors="surrogateescape") as archive:
            while (info := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined] # it would keep them all
                if info.isdir():
                    continue
                if info.size < 0 or info.offset_data + info.size > size:
                    raise _damaged(path, f"it ends within {info.name}")
                problem = _problem(info)
                yield Member(info.name, info.offset_data, info.size, info.size, problem=problem)
            # tarfile takes a damaged header for the end.
            file.seek(archive.offset)
            if file.read(BLOCK).strip(b"\0"):
                raise _damaged(path, f"there is no file at byte {archive.offset:,}")
    except InputError:
        raise
    except (tarfile.TarError, ValueError, OSError) as error:
        raise _damaged(path, one_line(error)) from None


def _problem(info: tarfile.TarInfo) -> str:
    if info.issym() or info.islnk():
        return "is a link; pack what it leads to (`tar --dereference --hard-dereference`)"
    if info.issparse() or not info.isreg():
        return "is no plain file; pack it as one"
    return ""


def _damaged(path: Path, why: str) -> InputError:
    return InputError(
        f"{path}: expected a folder of images, a zip, or a tar that is whole and not compressed "
        f"({why})"
    )
