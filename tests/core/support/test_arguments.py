"""What no option takes is refused before any command runs."""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from regionspot_core.errors import InputError
from regionspot_core.support.arguments import require_values
from regionspot_core.support.input_files import kind_of


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["extract", "run", "--out", ""], "--out"),
        (["extract", "run", "--out="], "--out"),
        (["evaluate", "run", "--shard", "", "--head", "x"], "--shard"),
        (["extract", "info", ""], "info"),
        ([""], "regionspot"),
    ],
)
def test_an_empty_argument_is_refused(arguments: list[str], named: str) -> None:
    with pytest.raises(InputError, match=f"^{named}: expected a value, got an empty text"):
        require_values(arguments)
    with pytest.raises(InputError, match="got an empty text"):
        require_values([*arguments, ""])


@pytest.mark.parametrize(
    "arguments", [[], ["--version"], ["train", "fit", "--set", "a.b=", "--out=x"], ["a b", "."]]
)
def test_all_else_is_left_to_the_command(arguments: list[str]) -> None:
    require_values(arguments)


@pytest.mark.parametrize(
    ("number", "digits"),
    [(2**63, "19"), (-(2**63), "19"), (10**30, "31"), (10**300, "more than 40")],
)
def test_a_number_beyond_64_bits_is_refused(
    regionspot: Callable[..., Any], tmp_path: Path, number: int, digits: str
) -> None:
    done = regionspot("demo", "--out", "new", "--seed", str(number), cwd=tmp_path)
    assert done.returncode == 2
    assert f"at most 64 bits, got one of {digits} digits" in done.stderr
    assert "--seed" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_places_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("absent")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
    found = {
        name: kind_of(tmp_path / name) for name in ("file", "link", "pipe", "socket", "absent")
    }
    assert found == {
        "file": "a file",
        "link": "a link to nothing",
        "pipe": "a pipe",
        "socket": "a socket",
        "absent": "nothing there",
    }
    assert kind_of(tmp_path) == "a folder"
    assert kind_of(Path("/dev/null")) == "a device"
    assert "cannot be read" in kind_of(tmp_path / "loop")
