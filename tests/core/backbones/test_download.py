"""Downloads from a real server on this machine: whole, resumed, refused, cut, wrong."""

import errno
import hashlib
import os
import re
import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from regionspot_core.backbones.weights.download import fetch
from regionspot_core.errors import DownloadError

CONTENT = bytes(range(256)) * 12_000  # three blocks and a bit
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves ``CONTENT``; attributes say how it misbehaves."""

    honours_ranges = True
    cut_after: int | None = None
    """Bytes after which the next answer's connection is closed."""
    asked: list[str | None]
    """The ``Range`` header of each request."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/weights.bin"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append(wanted)
        if self.path != "/weights.bin":
            self.send_error(404)
            return
        start = 0
        if wanted is not None and self.server.honours_ranges:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(CONTENT):
                self.send_error(416)
                return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        end, self.server.cut_after = self.server.cut_after, None
        self.wfile.write(CONTENT[start:end])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as running:
        running.asked = []
        thread = Thread(target=running.serve_forever, args=[0.01])
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new folder" / "weights.bin"


def partial_of(path: Path) -> Path:
    return path.with_name(path.name + ".partial")


def test_a_whole_file_and_nothing_beside_it(
    server: Server, path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert fetch(server.url, path, sha256=SHA256) is True
    assert path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path]
    assert "weights.bin: 2.93 MiB/2.93 MiB, " in capfd.readouterr().err


def test_a_file_that_is_there_asks_no_server(server: Server, path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    assert fetch(server.url, path, sha256=SHA256) is False
    assert server.asked == []


def test_another_file_there_is_replaced(server: Server, path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(CONTENT[:-1])
    assert fetch(server.url, path, sha256=SHA256) is True
    assert path.read_bytes() == CONTENT


def test_a_cut_connection_is_resumed(server: Server, path: Path) -> None:
    server.cut_after = 2_000_000
    with pytest.raises(DownloadError, match="cut after 2000000 of 3072000 bytes, which are kept"):
        fetch(server.url, path, sha256=SHA256)
    assert not path.exists()
    assert partial_of(path).read_bytes() == CONTENT[:2_000_000]
    assert fetch(server.url, path, sha256=SHA256) is True
    assert path.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=2000000-"]


@pytest.mark.parametrize("kept", [1, 2_000_000])
def test_a_server_without_ranges_starts_anew(server: Server, path: Path, kept: int) -> None:
    server.honours_ranges = False
    path.parent.mkdir()
    partial_of(path).write_bytes(b"x" * kept)
    fetch(server.url, path, sha256=SHA256)
    assert path.read_bytes() == CONTENT


def test_a_partial_file_longer_than_the_whole_starts_anew(server: Server, path: Path) -> None:
    path.parent.mkdir()
    partial_of(path).write_bytes(CONTENT + b"x")
    fetch(server.url, path, sha256=SHA256)
    assert path.read_bytes() == CONTENT
    assert server.asked == [f"bytes={len(CONTENT) + 1}-", None]


def test_a_whole_partial_file_only_needs_its_name(server: Server, path: Path) -> None:
    path.parent.mkdir()
    partial_of(path).write_bytes(CONTENT)
    fetch(server.url, path, sha256=SHA256)
    assert path.read_bytes() == CONTENT
    assert server.asked == []


@pytest.mark.parametrize("damaged", [False, True])
def test_a_wrong_digest_leaves_nothing(server: Server, path: Path, damaged: bool) -> None:
    """The server has another file, or what was kept of an earlier try is damaged."""
    path.parent.mkdir()
    if damaged:
        partial_of(path).write_bytes(b"x" * 1000)
    expected = SHA256 if damaged else "0" * 64
    with pytest.raises(
        DownloadError, match=f"expected a file with SHA-256 {expected}, got [0-9a-f]"
    ):
        fetch(server.url, path, sha256=expected)
    assert list(path.parent.iterdir()) == []
    if damaged:
        assert fetch(server.url, path, sha256=SHA256) is True


def test_a_missing_file_says_what_to_copy_where(server: Server, path: Path) -> None:
    url = server.url + "x"
    advice = f"404 Not Found); on a machine with network fetch {url} and copy it to {path}"
    with pytest.raises(DownloadError, match=re.escape(advice)):
        fetch(url, path, sha256=SHA256)
    assert list(path.parent.iterdir()) == []


def test_no_server_at_all(path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/weights.bin"
        with pytest.raises(
            DownloadError, match=r"cannot be downloaded \(Connection refused\); on a"
        ):
            fetch(url, path, sha256=SHA256)


def test_a_full_disk_is_no_fault_of_the_network(
    server: Server, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        fetch(server.url, path, sha256=SHA256)
    assert caught.value.filename == str(partial_of(path))


def test_a_folder_that_cannot_be_written_is_no_fault_of_the_network(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        fetch(server.url, tmp_path / "file" / "weights.bin", sha256=SHA256)
