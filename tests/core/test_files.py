"""Files that are whole or not there."""

import json
from pathlib import Path

import pytest

from regionspot_core.files import write_json, written_aside


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
