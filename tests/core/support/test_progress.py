"""What is shown while something takes long fits a terminal, and reads as lines in a log file."""

import re
import time
from collections.abc import Callable

import pytest

from regionspot_core.support import progress

NOTE = "loss 0.0512, 123,456 regions/s, 12% waiting for data, 1.51 GiB, top-1 45.1%"


@pytest.fixture
def shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Shows notes on a terminal of 80 columns, or in a log file; returns what was written."""

    def show(*, terminal: bool, notes: list[str]) -> str:
        monkeypatch.setenv("COLUMNS", "80")
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("FORCE_COLOR", "1" if terminal else "")
        with progress.progress_line("train", total=270_000, unit="steps", start=1_000) as advance:
            for note in notes:
                advance(1, note)
        return capsys.readouterr().err

    return show


def last_screen(text: str) -> list[str]:
    """The last drawing of the bar, without what moves the cursor."""
    drawn = re.split(r"\x1b\[2K(?:\x1b\[1A\x1b\[2K)*", text)[-1]
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn).replace("\r", "").strip("\n").split("\n")


def test_a_bar_has_its_note_below_within_80_columns(shown: Callable[..., str]) -> None:
    bar, note = last_screen(shown(terminal=True, notes=[NOTE, ""]))
    assert bar.startswith("train ")
    assert "1002/270000" in bar
    assert len(bar) <= 80
    assert note.rstrip() == f"  {NOTE}"


def test_a_bar_without_a_note_is_one_line(shown: Callable[..., str]) -> None:
    assert len(last_screen(shown(terminal=True, notes=[""]))) == 1


def test_a_note_too_long_is_cut_and_not_wrapped(shown: Callable[..., str]) -> None:
    _, note = last_screen(shown(terminal=True, notes=[NOTE * 2]))
    assert note.endswith("…")
    assert len(note) <= 80


def test_a_log_has_whole_lines_and_keeps_the_note(
    shown: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 10_000, 31))  # each look at it is more than LOG_SECONDS later
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    lines = shown(terminal=False, notes=[NOTE, ""]).splitlines()
    assert len(lines) == 3
    assert all(line.endswith(f", {NOTE}") for line in lines)
    assert [line.split(", ")[0] for line in lines] == [
        "train: 1001/270000 steps", "train: 1002/270000 steps", "train: 1002/270000 steps"
    ]  # fmt: skip
    assert re.search(r", [\d.]+ days left, ", lines[0])


def test_a_note_commands_no_terminal(shown: Callable[..., str]) -> None:
    _, note = last_screen(shown(terminal=True, notes=["\x1b]0;title\x07[red]striped"]))
    assert note.rstrip() == r"  \x1b]0;title\x07[red]striped"
