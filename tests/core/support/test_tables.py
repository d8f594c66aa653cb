"""Figures as people read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regionspot_core.support.tables import (
    UNITS,
    facts_table,
    format_bytes,
    format_seconds,
    show,
    titled_table,
)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (999, "999 B"),
        (999.5, "0.976 KiB"),
        (1000, "0.977 KiB"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (123 * 1024, "123 KiB"),
        (999.4 * 1024, "999 KiB"),
        (999.9 * 1024, "0.976 MiB"),  # and not 1000 KiB
        (1.5 * 2**40, "1.5 TiB"),
        (296 * 1024 * 3_000_000, "847 GiB"),
        (2**50, "1 PiB"),
        (5000 * 2**50, "5000 PiB"),
    ],
)
def test_bytes(count: float, text: str) -> None:
    assert format_bytes(count) == text


@given(st.integers(1, 2**59))
def test_bytes_are_right_to_three_digits(count: int) -> None:
    figure, unit = format_bytes(count).split()
    assert len(figure.replace(".", "").lstrip("0")) <= 3
    assert float(figure) * 1024 ** UNITS.index(unit) == pytest.approx(count, rel=6e-3)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (0.04, "0.0 s"),
        (9.96, "10.0 s"),
        (59.9, "59.9 s"),
        (59.97, "1 min 0 s"),  # and not 60.0 s
        (60, "1 min 0 s"),
        (95, "1 min 35 s"),
        (119.7, "2 min 0 s"),
        (3570, "59 min 30 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 0 min"),
        (3600, "1 h 0 min"),
        (2 * 3600 + 29 * 60 + 31, "2 h 30 min"),
        (47 * 3600, "47 h 0 min"),
        (48 * 3600, "2.0 days"),
        (30 * 86400, "30.0 days"),
    ],
)
def test_seconds(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_facts_are_shown_whole_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show(facts_table("store", {"folder": "w" * 200, "empty": ""}))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.count("w") for line in lines) == 200


def test_a_title_is_one_line_however_narrow_its_table(capsys: pytest.CaptureFixture[str]) -> None:
    title = "The whole title of a table of two letters"
    table = titled_table(title)
    table.add_row("a")
    show(table, table)
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert [line for line in lines if line] == [title, "a"] * 2


@pytest.mark.parametrize("name", ["cats [old]", "a[/b].jpg", "[bold]", "x :cat: y", "[1, 2]"])
def test_names_are_shown_as_they_are(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    show(facts_table(f"t {name}", {f"n {name}": f"v {name}"}), f"s {name}")
    shown = capsys.readouterr().out
    assert [shown.count(f"{letter} {name}") for letter in "tnvs"] == [1, 1, 1, 1]
