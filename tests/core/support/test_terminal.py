"""Text out of files is shown on a terminal, and never obeyed by it."""

import io
import os
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table

from regionspot_core.support.progress import say
from regionspot_core.support.tables import facts_table, show, show_unbroken, show_written
from regionspot_core.support.terminal import printable

RED, TITLE, BELL = "\x1b[31mred", "\x1b]0;title\x07", "\a"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("striped red star", "striped red star"),
        ("图 é ×", "图 é ×"),
        ("a\tb\nc", "a\tb\nc"),
        (RED, r"\x1b[31mred"),
        (TITLE, r"\x1b]0;title\x07"),
        ("a\rb", r"a\x0db"),
        ("\x9b31m", r"\x9b31m"),
        ("\u202egpj.exe", r"\u202egpj.exe"),
        (os.fsdecode(b"d\xff"), r"d\xff"),
        ("\ud800", r"\ud800"),
        ("[bold]x[/] :smile:", "[bold]x[/] :smile:"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(text: str, expected: str) -> None:
    assert printable(text) == expected


@given(st.text(st.characters(codec=None)))
def test_nothing_printable_is_changed_and_nothing_else_stays(text: str) -> None:
    shown = printable(text)
    shown.encode()  # no surrogate is left
    assert not any(c < " " and c not in "\t\n" for c in shown)
    assert "\x7f" not in shown
    if text.isprintable():
        assert shown == text


@pytest.mark.parametrize("name", [RED, TITLE, BELL, "[bold]x[/bold]", ":smile:"])
def test_every_way_to_print_escapes(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(name)
    table.add_row(name)
    show(name, facts_table(name, {name: name}), table)
    show_unbroken(name)
    show_written(name)
    say(name)
    shown = "".join(capsys.readouterr())
    assert shown.count(printable(name)) == 9
    assert "\x1b" not in shown
    assert "\a" not in shown


@pytest.mark.parametrize(
    ("encoding", "shown"), [("ascii", "box ? 100, ?"), ("cp1252", "box × 100, ?")]
)
def test_a_character_that_the_output_lacks_is_replaced(
    encoding: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In whatever process something is shown: the command's own, a worker's, a script's."""
    for name, write in (("stdout", show), ("stderr", say)):
        file = io.BytesIO()
        stream = io.TextIOWrapper(file, encoding=encoding, errors="strict")
        monkeypatch.setattr(sys, name, stream)
        write("box × 100, 猫")
        stream.flush()
        assert file.getvalue().decode(encoding) == f"{shown}\n"
