"""The costs page says what stores really weigh."""

import re
from pathlib import Path

import numpy as np
import pytest

from regionspot_core.cache.layout.keep import Keep, TokenShape
from regionspot_core.cache.layout.plan import CachePlan
from regionspot_core.cache.layout.schema import stored_bytes

PAGE = Path(__file__).parents[2] / "docs" / "costs.md"
ROW = re.compile(
    r"\| (float16|int8) \| ([\d. ]+) KiB \| ([\d.]+) KiB \| ([\d.]+) TB \|$", re.MULTILINE
)
SHAPES = [(197, 768), (257, 1024), (577, 1024)]


@pytest.mark.parametrize(("index", "row"), list(enumerate(ROW.findall(PAGE.read_text("utf-8")))))
def test_the_disk_table(index: int, row: tuple[str, str, str, str]) -> None:
    dtype, clip, regions, all_images = row
    tokens, width = SHAPES[index // 2]
    shape = TokenShape(tokens, width, region_tokens=5, region_width=256, ious=4)
    images = 1024
    plan = CachePlan(np.full(images, 10), shape, part_images=256, keep=Keep(dtype=dtype))
    stored = stored_bytes(plan)
    of_clip = sum(size for name, size in stored.items() if name.startswith("clip/")) / images
    whole = sum(stored.values()) / images
    assert f"{of_clip / 1024:.1f}" == clip.replace(" ", "").replace("\u00a0", "")
    assert f"{(whole - of_clip) / 1024:.1f}" == regions
    assert f"{whole * 3e6 / 1e12:.2f}" == all_images


def test_the_table_is_there() -> None:
    assert len(ROW.findall(PAGE.read_text("utf-8"))) == 2 * len(SHAPES)
