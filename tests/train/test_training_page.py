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
    # Written where a head or a loss is not a built-in one.
    own = {"head.kind", "head.options", "loss.options"}
    assert set(listed) == set(settings(TrainConfig().to_json())) | own
