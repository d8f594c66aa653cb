"""Downloading a published file: it goes on where it stopped, and is checked before it counts."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from pathlib import Path

from regionspot_core.errors import DownloadError
from regionspot_core.support.error_text import DISK_FAULTS
from regionspot_core.support.files import file_sha256, sync_to_disk
from regionspot_core.support.progress import BYTES, progress_line

TIMEOUT_SECONDS = 60.0
"""Longest silence of a server."""
BLOCK_BYTES = 1 << 20


def fetch(url: str, path: Path, *, sha256: str) -> bool:
    """Download ``url`` to ``path``, unless it is there already.

    What has come lies in ``path.partial`` until it is whole; the next call goes on from there
    where the server can, and begins again where it cannot.

    Returns:
        Whether anything was downloaded.

    Raises:
        DownloadError: The server cannot be reached or refuses, the connection was cut, or what
            came has another digest (it is removed then).
    """
    if path.is_file() and file_sha256(path) == sha256:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    if not (partial.is_file() and file_sha256(partial) == sha256):
        try:
            _receive(url, partial, path)
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, OSError):
                if error.errno in DISK_FAULTS:  # which do not name the file
                    raise OSError(error.errno, error.strerror, str(partial)) from None
                if error.filename is not None:
                    raise
            raise DownloadError(_advice(url, path, _reason(error))) from None
        _check(url, partial, path, sha256)
    partial.replace(path)
    return True


def _receive(url: str, partial: Path, path: Path) -> None:
    """Append what is missing to ``partial``; write it anew where the server starts anew."""
    had = partial.stat().st_size if partial.is_file() else 0
    with _open(url, had) as response:
        start = had if response.status == http.client.PARTIAL_CONTENT else 0
        total = start + int(response.headers.get("Content-Length", 0))
        done = start
        with (
            partial.open("ab" if start else "wb") as file,
            progress_line(path.name, total=total, unit=BYTES, start=start) as advance,
        ):
            while block := response.read(BLOCK_BYTES):
                file.write(block)
                done += len(block)
                advance(len(block))
            file.flush()
            sync_to_disk(file.fileno(), partial)
    if done < total:
        raise ConnectionError(
            f"the connection was cut after {done} of {total} bytes, which are kept: "
            f"the same command goes on from there"
        )


def _open(url: str, start: int) -> http.client.HTTPResponse:
    """Ask for the bytes from ``start`` on; for all where the server has no such range."""
    headers = {"User-Agent": "regionspot"}
    if start:
        headers["Range"] = f"bytes={start}-"
    request = urllib.request.Request(url, headers=headers)
    try:
        response: http.client.HTTPResponse = urllib.request.urlopen(
            request, timeout=TIMEOUT_SECONDS
        )
    except urllib.error.HTTPError as error:
        with error:
            if start and error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                return _open(url, 0)
            raise ConnectionError(f"the server says {error.code} {error.reason}") from None
    return response


def _check(url: str, partial: Path, path: Path, sha256: str) -> None:
    found = file_sha256(partial)
    if found != sha256:
        partial.unlink()
        raise DownloadError(
            f"{url}: expected a file with SHA-256 {sha256}, got {found}; it was removed: "
            f"try again, or copy the right file to {path}"
        )


def _reason(error: Exception) -> str:
    cause = getattr(error, "reason", error)
    return getattr(cause, "strerror", None) or str(cause) or type(error).__name__


def _advice(url: str, path: Path, reason: str) -> str:
    return (
        f"{path.name} cannot be downloaded ({reason}); on a machine with network fetch {url} "
        f"and copy it to {path}"
    )
