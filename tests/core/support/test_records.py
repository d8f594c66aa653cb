"""Small JSON files and settings of any content: one sentence at once, never a traceback."""

import os
from pathlib import Path

import pytest
from pydantic import Field

from regionspot_core.config import Config
from regionspot_core.errors import CheckpointError, ConfigError, InputError
from regionspot_core.support.files import write_json
from regionspot_core.support.records import Record, read_json_object, read_small

DEEP = 100_000


class Head(Record):
    name: str
    step: int = Field(ge=0)
    rate: float = 0.0


def test_an_object_is_read_as_json_has_it(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"名": [1, -0.1, 2.5e-05, null, true, {"b": "\\u00e9"}]}')
    assert read_json_object(tmp_path / "a.json") == {
        "名": [1, -0.1, 2.5e-05, None, True, {"b": "é"}]
    }


def test_names_that_are_not_utf_8_are_read_as_they_were_written(tmp_path: Path) -> None:
    value = {"file": os.fsdecode(b"d\xff")}
    write_json(tmp_path / "a.json", value)
    assert read_json_object(tmp_path / "a.json") == value


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as JSON"),
        (b"\xff\xfe{}", "cannot be read as JSON"),
        (b'{"a": "\xff"}', "cannot be read as JSON"),
        (b'{"a": 1', "cannot be read as JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "cannot be read as JSON"),
        (b"[" * DEEP, "nested too deep"),
        (b"[" * DEEP + b"]" * DEEP, "nested too deep"),
        (b'{"a":' * DEEP + b"1" + b"}" * DEEP, "nested too deep"),
        (b'{"a":' * 200 + b"1" + b"}" * 200, "expected JSON of at most 100 levels, got more"),
        (b"[]", "expected a JSON object, got a list"),
        (b"7", "expected a JSON object, got a single value"),
        (b"x" * 5000, "expected at most 4,000 bytes, got 5,000"),
    ],
)
def test_what_is_no_object_is_one_sentence(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as caught:
        read_json_object(path, error=CheckpointError, most_bytes=4000 if b"x" in content else 10**8)
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value)) < 400


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, message in (("pipe", "found a pipe"), (".", "found a folder")):
        with pytest.raises(InputError, match=message):
            read_small(tmp_path / name)


def test_what_is_missing_is_for_the_caller_to_say(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_json_object(tmp_path / "absent.json")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        read_json_object(tmp_path / "file" / "a.json")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "a.json: input should be a valid dictionary"),
        ({"name": "x"}, "a.json: step: required, but not given"),
        ({"name": "x", "step": -5}, "a.json: step: .* greater than or equal to 0, got -5"),
        ({"name": "x", "step": "y"}, "a.json: step: "),
        ({"name": "x", "step": 1, "rate": float("nan")}, "a.json: rate: .* finite"),
        ({"name": "x", "step": 10**400}, r"a.json: step: expected a number below 2\^63"),
        ({"name": "x", "step": 1, "rate": [[10**30]]}, r"a.json: rate: expected .* below 2\^63"),
        ({"name": "x", "step": 1, "other": 2}, "unknown key 'other'; expected one of name"),
        ({"name": "x" * 10**6, "step": []}, r"a.json: step: .*, got \[\]"),
        ({"name": list(range(10**5)), "step": 1}, r"name: .*, got \[0, 1, 2, 3, 4, 5, \.\.\.\]"),
    ],
)
def test_a_model_says_what_is_wrong_in_a_few_words(values: object, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        Head.parse(values, source="a.json", error=CheckpointError)
    assert len(str(caught.value)) < 400


class Settings(Config):
    steps: int = Field(default=10, ge=1)
    name: str = "x"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps = " + "[" * DEEP, "nested too deep"),
        ("steps = " + "{a = " * DEEP, "nested too deep"),
        ("a." * DEEP + "a = 1", "expected keys of at most 32 parts, got more"),
        ('"a" . ' * DEEP + "a = 1", "expected keys of at most 32 parts, got more"),
        ("[" + "a." * DEEP + "a]", "expected keys of at most 32 parts, got more"),
        ("steps = " + "9" * 5000, "expected a TOML file"),
        ("steps = " + "9" * 400, r"steps: expected a number below 2\^63"),
        ("steps." + "a." * 20 + "a = 1", "steps: input should be a valid integer, got {"),
        ("#" * 2 * 10**6, "expected a TOML file of at most 1,048,576 bytes"),
    ],
)
def test_settings_of_any_shape_are_answered_at_once(
    text: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        Settings.load(path)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "override",
    ["steps=" + "[" * DEEP, "steps=" + "9" * 400, "steps=" + "9" * 5000, "a." * DEEP + "a=1"],
)
def test_so_are_overrides(override: str) -> None:
    with pytest.raises(ConfigError, match="--set") as caught:
        Settings.load(None, [override])
    assert len(str(caught.value)) < 500
