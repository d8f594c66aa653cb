"""The settings page has every setting of a training, and no other."""

import re
from pathlib import Path

from regionspot_train.config import TrainConfig
from regionspot_train.forecast import settings

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


def test_the_page_lists_the_settings() -> None:
    page = PAGE.read_text(encoding="utf-8")
    table = page.split("## Training", 1)[1].split("\n## ", 1)[0]
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    listed = [name for row in rows for name in re.findall(r"`([a-z_.]+)`", row.split("|")[1])]
    assert len(listed) == len(set(listed))
    own_head = {"head.kind", "head.options"}  # written where a head is not the built-in one
    assert set(listed) == set(settings(TrainConfig().to_json())) | own_head
