"""The plan: no two parts share a file, no two regions a row."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regionspot_core.cache.layout.keep import Keep, TokenShape
from regionspot_core.cache.layout.plan import REGION_CHUNK, CachePlan
from regionspot_core.cache.layout.schema import stored_bytes

SHAPE = TokenShape(image_tokens=197, image_width=768, region_tokens=5, region_width=256, ious=4)

counts = st.lists(st.integers(0, 40), min_size=1, max_size=60)


def test_hand_computed_offsets() -> None:
    plan = CachePlan(np.array([2, 0, 3, 1, 4]), SHAPE, part_images=2)
    # Parts hold 2, 4 and 4 regions, so a region shard is one chunk of rows.
    assert plan.part_count == 3
    assert plan.part_rows == REGION_CHUNK
    assert plan.region_start.tolist() == [0, 2, 16, 19, 32]
    assert plan.region_rows.tolist() == [0, 1, 16, 17, 18, 19, 32, 33, 34, 35]
    last = plan.part(2)
    assert (list(last.images), last.row_start, last.row_stop) == ([4], 32, 36)


@pytest.mark.parametrize(("width", "expected"), [(0, "none"), (512, "tokens")])
def test_a_plan_says_which_region_embeddings(width: int, expected: str) -> None:
    """Made by a library with the defaults, too: what it keeps decides."""
    plan = CachePlan(np.array([2]), replace(SHAPE, region_embedding=width), part_images=2)
    assert plan.to_json()["keep"]["region_embedding"] == expected
    crops = replace(plan, keep=Keep(region_embedding="crop"))
    assert crops.keep.region_embedding == "crop"


def test_bytes_are_the_reference_numbers() -> None:
    """CLIP B/16 takes 296 KiB an image, a region token of the paper's 512 bytes."""
    paper_only = TokenShape(197, 768, region_tokens=1, region_width=256, ious=1)
    stored = stored_bytes(CachePlan(np.array([16]), paper_only, part_images=1))
    assert round(stored["clip/tokens"] / 1024) == 296
    assert stored["region/tokens"] == 16 * 512


@given(counts=counts, part_images=st.integers(1, 70))
def test_parts_cover_every_image_and_row_once(counts: list[int], part_images: int) -> None:
    plan = CachePlan(np.array(counts), SHAPE, part_images)
    parts = [plan.part(index) for index in range(plan.part_count)]
    assert [image for part in parts for image in part.images] == list(range(len(counts)))
    rows = [row for part in parts for row in range(part.row_start, part.row_stop)]
    assert rows == plan.region_rows.tolist()
    assert len(set(rows)) == sum(counts)
    for part in parts:
        shard = range(part.index * plan.part_rows, (part.index + 1) * plan.part_rows)
        assert all(row in shard for row in range(part.row_start, part.row_stop))
        assert part.row_stop <= plan.row_count


@given(counts=counts, part_images=st.integers(1, 70))
def test_region_start_points_at_each_images_rows(counts: list[int], part_images: int) -> None:
    plan = CachePlan(np.array(counts), SHAPE, part_images)
    rows = [
        row
        for start, count in zip(plan.region_start.tolist(), counts, strict=True)
        for row in range(start, start + count)
    ]
    assert rows == plan.region_rows.tolist()


@pytest.mark.parametrize(("counts", "padded"), [([0], 0), ([1], 16), ([16], 16), ([17], 32)])
def test_stored_bytes_round_regions_up_to_chunks(counts: list[int], padded: int) -> None:
    plan = CachePlan(np.array(counts), SHAPE, part_images=8)
    stored = stored_bytes(plan)
    assert stored["region/tokens"] + stored["region/iou"] == padded * (5 * 256 + 4) * 2
