"""Files that are whole or not there, and what tells that they are whole."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from regionspot_core.errors import InputError


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Yield a neighbouring path to write to; it takes ``path``'s place once it is on the disk.

    After an error the neighbour is removed and ``path`` stays as it was.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
        _sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Have a folder's names on the disk, where the system can do it."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def require_folder_or_nothing(path: Path) -> None:
    """Refuse to write into a folder that is a file, below one, or not ours to write to.

    Raises:
        InputError: It is; the message names it.
    """
    there = next(place for place in (path, *path.absolute().parents) if place.exists())
    if not there.is_dir():
        what = "got a file" if there == path else f"but {there} is a file"
        raise InputError(f"--out {path}: expected a folder, or a new name for one; {what}")
    if not os.access(there, os.W_OK):
        raise InputError(f"--out {path}: no permission to write in {there}")


def require_place_for_file(path: Path, *, option: str) -> None:
    """Refuse to write a file where a folder is, or into a folder that is missing or not ours.

    Raises:
        InputError: It is so; the message names ``option`` and the place.
    """
    if path.is_dir():
        raise InputError(f"{option} {path}: expected a name for a file, got a folder")
    if not path.parent.is_dir():
        raise InputError(f"{option} {path}: expected an existing folder, no {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"{option} {path}: no permission to write in {path.parent}")


def write_json(path: Path, value: object) -> None:
    """Write a JSON file, indented, keys in the order they have; whole or not at all."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    with written_aside(path) as partial:
        partial.write_text(text, encoding="utf-8")


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
