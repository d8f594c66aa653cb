"""Files that are whole or not there."""

import errno
import json
import multiprocessing
import os
import resource
import signal
import socket
import stat
import threading
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from regionspot_core.errors import InputError
from regionspot_core.support.files import (
    MARK,
    folder_written_aside,
    remove_left_behind,
    require_empty_folder,
    require_place_for_file,
    write_json,
    written_aside,
)


def test_a_new_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new.bin"
    with written_aside(path) as partial:
        partial.write_bytes(b"first ")
        assert not path.exists()
        assert partial.parent == path.parent  # or the move could not be one step
        with partial.open("ab") as file:
            file.write(b"second")
        assert not path.exists()
    assert path.read_bytes() == b"first second"
    assert list(tmp_path.iterdir()) == [path]


def write_and_fail(path: Path, written: bytes | None, error: BaseException) -> None:
    with written_aside(path) as partial:
        if written is not None:
            partial.write_bytes(written)
        raise error


@pytest.mark.parametrize("error", [ValueError("broken"), KeyboardInterrupt()])
@pytest.mark.parametrize("before", [None, b"older"])
@pytest.mark.parametrize("written", [None, b"", b"half"])
def test_after_an_error_all_is_as_before(
    error: BaseException, before: bytes | None, written: bytes | None, tmp_path: Path
) -> None:
    path = tmp_path / "kept.bin"
    if before is not None:
        path.write_bytes(before)
    with pytest.raises(type(error)):
        write_and_fail(path, written, error)
    assert (path.read_bytes() if path.exists() else None) == before
    assert list(tmp_path.iterdir()) == ([] if before is None else [path])


def test_the_older_file_is_there_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "kept.bin"
    path.write_bytes(b"older")
    with written_aside(path) as partial:
        partial.write_bytes(b"newer")
        assert path.read_bytes() == b"older"
    assert path.read_bytes() == b"newer"


def test_writing_nothing_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "kept.bin"
    path.write_bytes(b"older")
    with pytest.raises(FileNotFoundError), written_aside(path):
        pass
    assert path.read_bytes() == b"older"


@pytest.mark.parametrize("value", [{}, [], {"図": [1, 2.5, None, True]}, {"b": 1, "a": {"c": "é"}}])
def test_json_is_read_back_in_the_same_order(value: object, tmp_path: Path) -> None:
    write_json(tmp_path / "value.json", value)
    text = (tmp_path / "value.json").read_text(encoding="utf-8")
    assert json.dumps(json.loads(text)) == json.dumps(value)
    assert text.endswith("\n")
    assert "\\u" not in text


@pytest.mark.parametrize("value", [{"a": object()}, {"a": {1, 2}}])
def test_what_json_cannot_say_leaves_no_file(value: object, tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_json(tmp_path / "value.json", value)
    assert list(tmp_path.iterdir()) == []


def test_json_keeps_the_name_of_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    name = os.fsdecode(b"d\xff")
    write_json(tmp_path / "value.json", {"path": name})
    assert json.loads((tmp_path / "value.json").read_text(encoding="utf-8")) == {"path": name}


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    with written_aside(path) as one, written_aside(path) as other:
        one.write_bytes(b"one")
        other.write_bytes(b"other")
    assert path.read_bytes() == b"one"  # the last to end
    assert list(tmp_path.iterdir()) == [path]


def test_a_pipe_is_written_straight(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(path.read_bytes()), daemon=True)
    reader.start()
    with written_aside(path) as partial:
        partial.write_bytes(b"content")
    reader.join(timeout=60)
    assert got == [b"content"]
    assert path.is_fifo()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
def test_a_device_stays_a_device(tmp_path: Path) -> None:
    path = tmp_path / "null"
    os.mknod(path, stat.S_IFCHR | 0o666, Path("/dev/null").stat().st_rdev)
    before = path.stat()
    write_json(path, {"a": 1})
    after = path.stat()
    assert (after.st_mode, after.st_rdev, after.st_ino) == (
        before.st_mode, before.st_rdev, before.st_ino
    )  # fmt: skip


def test_a_link_of_the_system_is_followed(tmp_path: Path) -> None:
    """As /dev/stdout is, which leads to wherever the output goes: here to a file."""
    with (tmp_path / "out").open("wb") as out:
        write_json(Path(f"/proc/self/fd/{out.fileno()}"), [1])
    assert json.loads((tmp_path / "out").read_text()) == [1]
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


def test_a_socket_is_refused(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
    with pytest.raises(InputError, match="got a socket"), written_aside(tmp_path / "s"):
        pass
    with pytest.raises(InputError, match=r"--json .*got a socket"):
        require_place_for_file(tmp_path / "s", option="--json")


def test_a_link_is_replaced_and_never_written_through(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_bytes(b"theirs")
    (tmp_path / "link").symlink_to("theirs")
    with written_aside(tmp_path / "link") as partial:
        partial.write_bytes(b"ours")
    assert (tmp_path / "theirs").read_bytes() == b"theirs"
    assert (tmp_path / "link").read_bytes() == b"ours"


def test_a_write_that_fails_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "big"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
    try:
        with pytest.raises(OSError, match="big") as caught, written_aside(path) as partial:
            partial.write_bytes(bytes(1 << 17))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(path))
    assert not list(tmp_path.iterdir())


def test_an_error_of_another_file_keeps_its_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, written_aside(tmp_path / "new"):
        (tmp_path / "source").read_bytes()
    assert caught.value.filename == str(tmp_path / "source")


def _write_and_wait(path: Path, ready: Event, folder: bool) -> None:
    written = folder_written_aside if folder else written_aside
    with written(path) as partial:
        (partial / "file" if folder else partial).write_bytes(b"half")
        ready.set()
        signal.pause()


@pytest.mark.parametrize("folder", [False, True])
def test_what_a_killed_process_left_is_removed_and_what_another_has_stays(
    folder: bool, tmp_path: Path
) -> None:
    path = tmp_path / "out"
    processes = multiprocessing.get_context("fork")
    ready = [processes.Event(), processes.Event()]
    killed, running = (
        processes.Process(target=_write_and_wait, args=(path, each, folder)) for each in ready
    )
    for process, event in zip((killed, running), ready, strict=True):
        process.start()
        assert event.wait(timeout=60)
    killed.kill()
    killed.join(timeout=60)
    theirs = [path.with_name(f"out{end}") for end in (".partial", ".abcdef-1-01234567.partial")]
    for each in theirs:
        each.mkdir()
        (each / "data").write_bytes(b"theirs")
    with (folder_written_aside if folder else written_aside)(path) as partial:
        (partial / "file" if folder else partial).write_bytes(b"whole")
    left = {p for p in tmp_path.iterdir() if p != path and p not in theirs}
    assert len(left) == 1  # the running process's
    assert f"-{running.pid}-" in left.pop().name
    assert all((each / "data").read_bytes() == b"theirs" for each in theirs)
    running.kill()
    running.join(timeout=60)


@pytest.mark.parametrize("inside", [(), (MARK,), (MARK, "content"), (MARK, "content/deeper")])
def test_what_a_process_left_is_removed_wherever_it_was_killed(
    inside: tuple[str, ...], tmp_path: Path
) -> None:
    """Before it set its mark, and after it gave the content its name."""
    path = tmp_path / "out"
    with folder_written_aside(path) as content:
        name = content.parent.name
    killed = multiprocessing.get_context("fork").Process(target=int)
    killed.start()
    killed.join(timeout=60)
    left = tmp_path / name.replace(f"-{os.getpid()}-", f"-{killed.pid}-")
    left.mkdir()
    for each in inside:
        (left / each).mkdir(parents=True) if each != MARK else (left / each).touch()
    remove_left_behind(path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "new"
    with folder_written_aside(path) as partial:
        (partial / "file").write_bytes(b"whole")
        assert not path.exists()
    assert [each.name for each in path.iterdir()] == ["file"]
    assert list(path.parent.iterdir()) == [path]
    assert not list(tmp_path.rglob(MARK))


def test_after_an_error_there_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="broken"), folder_written_aside(tmp_path / "new"):
        raise ValueError("broken")
    assert not list(tmp_path.iterdir())


def test_a_folder_with_files_in_it_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "file").touch()
    with pytest.raises(OSError, match="theirs"), folder_written_aside(tmp_path / "theirs"):
        pass
    assert [each.name for each in tmp_path.iterdir()] == ["theirs"]


def test_only_new_and_empty_folders_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path / "empty")
    for free in (tmp_path / "new" / "deeper", tmp_path / "empty", Path()):
        require_empty_folder(free)
    for taken in (tmp_path, tmp_path / "file", tmp_path / "file" / "deeper", Path("/")):
        with pytest.raises(InputError, match="--out"):
            require_empty_folder(taken)


@pytest.mark.parametrize("url", ["s3://bucket/x", "file:///x", "gs://b"])
def test_a_url_is_no_folder(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="expected a folder on this machine, got a URL"):
        require_empty_folder(Path(url))
    require_empty_folder(Path("c:/x"))
    assert not list(tmp_path.iterdir())
