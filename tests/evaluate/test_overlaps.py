"""Of regions that cover one thing, the one that SAM is surest of."""

import numpy as np
import pytest
import torch

from regionspot_evaluate.recognition.image_regions import SegmentedRegions, encode_masks
from regionspot_evaluate.scoring.overlaps import without_overlaps

# Columns of a 4 × 10 image: three regions of one thing, a part of it, and another thing.
COLUMNS = [range(0, 5), range(0, 6), range(1, 6), range(0, 2), range(7, 10)]
SURE = [0.8, 0.9, 0.7, 0.99, 0.5]
# IoU with region 1, columns 0 to 5: 5/6, 1, 5/6, 2/6, 0. Region 3 with 0 and 2: 2/5, 1/6.


def regions(columns: list[range], sure: list[float]) -> SegmentedRegions:
    masks = np.zeros((len(columns), 4, 10), dtype=bool)
    for mask, inside in zip(masks, columns, strict=True):
        mask[:, inside] = True
    return SegmentedRegions(
        tokens_RMS=torch.arange(len(columns)).float().reshape(-1, 1, 1).expand(-1, 5, 8),
        masks=encode_masks(masks),
        boxes=np.array([[c.start, 0, c.stop, 4] for c in columns], float).reshape(-1, 4),
        predicted_iou=np.array(sure, np.float32),
    )


@pytest.mark.parametrize(
    ("most", "kept"),
    [
        (1.0, [0, 1, 2, 3, 4]),
        (0.7, [1, 3, 4]),  # the part is another region than the whole
        (0.35, [1, 3, 4]),
        (0.3, [2, 3, 4]),  # the part is surer than region 1, and leaves region 2 alone
        (0.0, [3, 4]),
    ],
)
def test_the_surest_region_of_a_thing_stays(most: float, kept: list[int]) -> None:
    everything = regions(COLUMNS, SURE)
    found = without_overlaps(everything, most)
    assert found.tokens_RMS[:, 0, 0].tolist() == kept
    assert found.boxes.tolist() == everything.boxes[kept].tolist()
    assert found.masks == [everything.masks[region] for region in kept]
    assert found.predicted_iou.tolist() == everything.predicted_iou[kept].tolist()


def test_equals_keep_the_first() -> None:
    found = without_overlaps(regions([range(0, 5)] * 3, [0.5] * 3), 0.5)
    assert found.tokens_RMS[:, 0, 0].tolist() == [0]


def test_no_region() -> None:
    assert len(without_overlaps(regions([], []), 0.5).masks) == 0
