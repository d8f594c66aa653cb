"""Files and folders that are whole or absent."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from regionspot_core.errors import InputError
from regionspot_core.support.error_text import reason_of
from regionspot_core.support.input_files import kind_of
from regionspot_core.support.progress import say_once

MARK = ".regionspot-partial"
"""Name of the file beside the content of a folder that is being written: it shows that the folder
is ours."""

PARTIAL = re.compile(r"(?P<name>.+)\.(?P<host>[0-9a-f]{6})-(?P<pid>\d+)-[0-9a-f]{8}\.partial")
"""Names of unfinished files and folders: the final name, then the process that writes."""

_NO_SYNC = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF)
"""Error numbers of a file system that cannot say when a file or folder is on the disk."""
_URL = re.compile(r"[a-z][a-z0-9+.-]+:/")


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Yield a neighbouring path to write to; it takes the place of ``path`` once it is on the disk.

    After an error the neighbour is removed and ``path`` stays as it was. The neighbour's name is
    this call's alone, so two processes may write one file at once: the last one wins. A terminal,
    a pipe or ``/dev/null`` is written to directly, once the content is whole.

    Raises:
        InputError: If ``path`` is a folder, a socket or a disk.
        OSError: If the system refuses; its ``filename`` is ``path``.
    """
    _require_takes_bytes(path, str(path))
    with _errors_named(path):
        if _is_stream(path):
            with tempfile.TemporaryDirectory() as folder:
                content = Path(folder) / "content"
                yield content
                with content.open("rb") as source, path.open("wb") as target:
                    shutil.copyfileobj(source, target)
            return
        partial = _partial_name(path)
        try:
            yield partial
            with partial.open("rb+") as file:
                sync_to_disk(file.fileno(), path)
            partial.replace(path)
            _sync_folder(path.parent)
        finally:
            partial.unlink(missing_ok=True)
        remove_left_behind(path)


@contextmanager
def folder_written_aside(path: Path) -> Iterator[Path]:
    """Yield a new folder to fill, in a neighbouring one; it gets the name ``path`` in the end.

    After an error it is removed. What a killed process of ours left is removed too; a neighbour
    without our mark inside is somebody else's, and stays.

    Raises:
        OSError: If the system refuses, as it does where ``path`` is a folder with files in it; its
            ``filename`` is ``path``.
    """
    with _errors_named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_left_behind(path)
        partial = _partial_name(path)
        partial.mkdir()
        try:
            (partial / MARK).touch()
            content = partial / "content"  # the mark is no part of it
            content.mkdir()
            yield content
            content.rename(path)
            _sync_folder(path.parent)
        finally:
            _remove_marked(partial)


def _is_stream(path: Path) -> bool:
    """Return whether a path takes bytes and keeps no file of them: a terminal, a pipe."""
    # /dev/stdout is a link to wherever the output goes, which may be a file.
    system_link = path.is_symlink() and path.absolute().parts[1:2] in (("dev",), ("proc",))
    return kind_of(path) in ("a pipe", "a device") or (system_link and path.exists())


def _require_takes_bytes(path: Path, named: str) -> None:
    kind = kind_of(path)
    if kind in ("a socket", "a disk"):
        raise InputError(f"{named}: expected a file or a new name for one, got {kind}")


def _partial_name(path: Path) -> Path:
    path = path if path.name else path.absolute()
    if not path.name:
        raise InputError(f"{path}: expected a name to write to, got the root of the file system")
    return path.with_name(f"{path.name}.{_host()}-{os.getpid()}-{secrets.token_hex(4)}.partial")


def _host() -> str:
    """Return six hexadecimal digits of this machine; containers on it have others."""
    try:
        processes = Path("/proc/self/ns/pid").readlink().name
    except OSError:
        processes = ""
    return hashlib.sha256(f"{socket.gethostname()} {processes}".encode()).hexdigest()[:6]


def remove_left_behind(path: Path) -> None:
    """Remove what processes of this machine that are gone were writing for ``path``."""
    for other in _siblings(path):
        match = PARTIAL.fullmatch(other.name)
        if not match or match["name"] != path.name or match["host"] != _host():
            continue
        if _is_running(int(match["pid"])):
            continue
        if other.is_file() and not other.is_symlink():
            other.unlink(missing_ok=True)
        elif (other / MARK).is_file():
            _remove_marked(other)
        else:  # of a process that was killed before it set its mark, or after it removed it
            with suppress(OSError):
                other.rmdir()


def _remove_marked(partial: Path) -> None:
    """Remove a folder of ours, its mark last: killed meanwhile, it is still known as ours."""
    shutil.rmtree(partial / "content", ignore_errors=True)
    shutil.rmtree(partial, ignore_errors=True)


def _siblings(path: Path) -> list[Path]:
    """Return the unfinished files and folders whose names begin as ``path``'s does."""
    start = path.name + "."
    try:
        neighbours = list(path.parent.iterdir())
    except OSError:  # a folder that may be written and not listed
        return []
    return [n for n in neighbours if n.name.startswith(start) and n.name.endswith(".partial")]


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


@contextmanager
def _errors_named(path: Path) -> Iterator[None]:
    """Make the system's errors of writing name the file that was asked for.

    A write that fails names no file at all, and one that cannot be opened names the neighbour.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None or PARTIAL.search(os.fsdecode(error.filename)):
            error.filename, error.filename2 = str(path), None
        raise


def _sync_folder(folder: Path) -> None:
    """Wait until a folder's names are on the disk, if the system can."""
    if os.name != "posix":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder that may be written and not listed
        return
    try:
        sync_to_disk(descriptor, folder)
    finally:
        os.close(descriptor)


def sync_to_disk(descriptor: int, path: Path) -> None:
    """Wait until an open file or folder is on the disk.

    Some network and FUSE file systems cannot be waited for, folders least of all. The work then
    goes on, and one line says what a loss of power may cost.

    Args:
        descriptor: The open file or folder.
        path: Its path, for the line.

    Raises:
        OSError: If the disk is full or broken.
    """
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
        say_once(
            f"{mount_point(path)}: this file system does not say when files are on the disk "
            f"({error.strerror}); a killed run goes on as ever, but a loss of power may cost the "
            f"newest files"
        )


def mount_point(path: Path) -> Path:
    """Return the folder where the file system of a path begins."""
    return next(place for place in (path.absolute(), *path.absolute().parents) if place.is_mount())


def require_folder_or_nothing(path: Path) -> None:
    """Refuse to write into a folder that is a file, below one, not ours to write to, or the root.

    Raises:
        InputError: If it is; the message names it.
    """
    if path.resolve() == path.resolve().parent:
        raise InputError(f"--out {path}: expected a folder of its own, got the root of all files")
    if _URL.match(str(path)):  # a Path has lost the second slash of file:///x
        raise InputError(f"--out {path}: expected a folder on this machine, got a URL")
    nearest = next(place for place in (path, *path.absolute().parents) if place.exists())
    if not nearest.is_dir():
        what = "got a file" if nearest == path else f"but {nearest} is a file"
        raise InputError(f"--out {path}: expected a folder, or a new name for one; {what}")
    if not os.access(nearest, os.W_OK):
        raise InputError(f"--out {path}: no permission to write in {nearest}")
    try:
        tempfile.TemporaryFile(dir=nearest).close()
    except OSError as error:  # as in /proc, whatever its permissions say
        raise InputError(
            f"--out {path}: nothing can be written in {nearest}: {reason_of(error)}"
        ) from None


def require_empty_folder(path: Path, *, but: Collection[str] = (), instead: str = "") -> None:
    """Refuse to write where anything is but an empty folder.

    Args:
        path: Folder to write, new or empty.
        but: Names that may be in it, whole or as a killed process left them.
        instead: End of "expected a new or empty folder" in the message.

    Raises:
        InputError: If a file is there, or a folder with files in it, or no permission.
    """
    require_folder_or_nothing(path)
    try:
        names = sorted(each.name for each in path.iterdir()) if path.is_dir() else []
    except OSError as error:
        raise InputError(f"--out {path}: {reason_of(error)}") from None
    for name in names:
        partial = PARTIAL.fullmatch(name)
        if (partial["name"] if partial else name) not in but:
            raise InputError(
                f"--out {path}: expected a new or empty folder{instead}, found files in it "
                f"({name}); choose another"
            )


def require_place_for_file(path: Path, *, option: str) -> None:
    """Refuse to write a file where a folder is, or into a folder that is missing or not ours.

    Raises:
        InputError: If it is so; the message names ``option`` and the place.
    """
    if path.is_dir():
        raise InputError(f"{option} {path}: expected a name for a file, got a folder")
    _require_takes_bytes(path, f"{option} {path}")
    if not path.parent.is_dir():
        raise InputError(f"{option} {path}: expected an existing folder, no {path.parent}")
    if not _is_stream(path) and not os.access(path.parent, os.W_OK):
        raise InputError(f"{option} {path}: no permission to write in {path.parent}")


def write_json(path: Path, value: object) -> None:
    """Write a JSON file, indented, keys in the order they have; whole or not at all.

    Text that UTF-8 cannot hold, such as the name of a file that is not UTF-8, is written as
    escapes, and reads back as it was.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    if not _is_utf8(text):
        text = json.dumps(value, indent=2) + "\n"
    with written_aside(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
