"""docs/training.md has every setting, and no other."""

import re
from pathlib import Path

from regionspot_train.config import TrainConfig
from regionspot_train.forecast import settings

PAGE = Path(__file__).parents[2] / "docs" / "training.md"


def test_the_page_lists_the_settings() -> None:
    table = PAGE.read_text(encoding="utf-8").split("## Settings", 1)[1]
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    listed = [name for row in rows for name in re.findall(r"`([a-z_.]+)`", row.split("|")[1])]
    named = {name for row in rows for name in re.findall(r"`([a-z_.]+)`", row)}
    known = set(settings(TrainConfig().to_json()))
    assert len(listed) == len(set(listed))
    assert set(listed) <= known
    assert known <= named
