"""A setting is written once: docs/settings.md is made of the code, and says something of each."""

from pathlib import Path

from regionspot.reference import settings_page

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"


def test_the_page_is_what_the_code_says() -> None:
    assert PAGE.read_text("utf-8") == settings_page(), (
        "run `python -m regionspot.reference > docs/settings.md`"
    )


def test_every_setting_is_described() -> None:
    rows = [line for line in settings_page().splitlines() if line.startswith("| `")]
    assert len(rows) > 200
    assert [row for row in rows if row.endswith("|  |")] == []
