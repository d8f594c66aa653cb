"""Locks, and what happens on a file system that has none or cannot say what is on the disk."""

import errno
import fcntl
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import Timeout

from regionspot_core.cache.storage.claims import LOCKS, FolderClaims
from regionspot_core.support.files import folder_written_aside, written_aside
from regionspot_core.support.locks import hold_lock
from regionspot_core.support.progress import say_once

NO_LOCKS = [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS]


def refuse(number: int) -> Callable[..., None]:
    def call(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    return call


def test_one_holds_a_lock_at_a_time(tmp_path: Path) -> None:
    first = hold_lock(tmp_path / "lock", timeout=0)
    for timeout in (0, 0.01):
        with pytest.raises(Timeout):
            hold_lock(tmp_path / "lock", timeout=timeout)
    first.release()
    hold_lock(tmp_path / "lock", timeout=0).release()


@pytest.mark.parametrize("number", NO_LOCKS)
def test_without_locks_the_work_goes_on_and_one_line_says_so(
    number: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    say_once.cache_clear()
    monkeypatch.setattr(fcntl, "flock", refuse(number))
    for timeout in (0, -1):
        hold_lock(tmp_path / "lock", timeout=timeout).release()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert f"this file system has no locks ({os.strerror(number)}), so nothing keeps" in lines[0]
    assert list(tmp_path.iterdir()) == []  # a file that stays would keep the next process waiting


def test_another_error_of_a_lock_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", refuse(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        hold_lock(tmp_path / "lock", timeout=0)


def test_the_parts_of_a_store_are_claimed_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", refuse(errno.ENOLCK))
    (tmp_path / "store").mkdir()
    claims = FolderClaims(tmp_path / "store")
    with claims.whole(), claims.part(0) as first, claims.part(1) as second:
        assert first
        assert second
    (tmp_path / "store" / LOCKS / "000007.lock").touch()  # a run that was killed left it
    claims.clean_up()
    assert list(tmp_path.iterdir()) == [tmp_path / "store"]
    assert list((tmp_path / "store").iterdir()) == []


def sync_files_only(number: int) -> Callable[[int], None]:
    real = os.fsync

    def sync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        real(descriptor)

    return sync


@pytest.mark.parametrize("only", ["folders", "files too"])
def test_what_cannot_be_waited_for_is_written_all_the_same(
    only: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sync = sync_files_only(errno.EINVAL) if only == "folders" else refuse(errno.ENOSYS)
    monkeypatch.setattr(os, "fsync", sync)
    say_once.cache_clear()
    for content in (b"old", b"new"):
        with written_aside(tmp_path / "file") as partial:
            partial.write_bytes(content)
    with folder_written_aside(tmp_path / "folder") as partial:
        (partial / "inside").touch()
    assert (tmp_path / "file").read_bytes() == b"new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
    (line,) = capsys.readouterr().err.splitlines()
    assert "a loss of power may cost the newest files" in line


def test_a_broken_disk_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", refuse(errno.EIO))
    with (
        pytest.raises(OSError, match="Input/output"),
        written_aside(tmp_path / "file") as partial,
    ):
        partial.write_bytes(b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
