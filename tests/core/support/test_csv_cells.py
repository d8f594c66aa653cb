"""Cells that a spreadsheet would take for a formula are text."""

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regionspot_core.support.csv_cells import FORMULA_SIGNS, safe_cell, write_csv


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=1+1", "'=1+1"), ("+1+1", "'+1+1"), ("-A1", "'-A1"), ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"), ("\r=1", "'\r=1"), ("-1.5", "-1.5"), ("+2e3", "+2e3"), ("-", "'-"),
        (-1.5, "-1.5"), (-3, "-3"), (None, ""), ("", ""), ("a=b", "a=b"), ("\uff1d1", "'\uff1d1"),
        ("-1 ", "'-1 "), ("'=1", "'=1"),
    ],
)  # fmt: skip
def test_a_cell(tmp_path: Path, cell: object, written: str) -> None:
    write_csv(tmp_path / "t.csv", ["a", "b"], [[cell, "x"]])
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [["a", "b"], [written, "x"]]


@given(st.text())
def test_no_text_begins_a_formula(text: str) -> None:
    cell = str(safe_cell(text))
    assert cell in (text, f"'{text}")
    if cell.startswith(FORMULA_SIGNS):
        float(cell)


def test_half_characters_are_escaped(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", ["\udcff"], [])
    assert (tmp_path / "t.csv").read_bytes() == b"\\udcff\r\n"


def test_every_table_is_written_here() -> None:
    root = Path(__file__).parents[3]
    folders = ("regionspot_core", "extract", "train", "evaluate")
    sources = [path for folder in folders for path in (root / folder).rglob("*.py")]
    writing = {path.name for path in sources if "csv.writer" in path.read_text(encoding="utf-8")}
    assert writing == {"csv_cells.py"}
