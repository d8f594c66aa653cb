"""One region for each thing: of regions that cover the same pixels, the one SAM is surest of."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as rle_codec

from regionspot_evaluate.recognition.image_regions import SegmentedRegions


def without_overlaps(regions: SegmentedRegions, most: float) -> SegmentedRegions:
    """Return the regions, less those whose mask overlaps that of a surer one.

    Args:
        regions: R regions that SAM found by itself.
        most: IoU of two masks, in 0 … 1; a region is left out above it.
    """
    masks = regions.masks
    iou_RR: NDArray[np.float64] = np.reshape(
        rle_codec.iou(masks, masks, [False] * len(masks)), (len(masks), len(masks))
    )
    surest_first: list[int] = np.argsort(-regions.predicted_iou, kind="stable").tolist()
    kept: list[int] = []
    for region in surest_first:
        if not (iou_RR[region, kept] > most).any():
            kept.append(region)
    kept.sort()
    return SegmentedRegions(
        tokens_RMS=regions.tokens_RMS[kept],
        masks=[masks[region] for region in kept],
        boxes=regions.boxes[kept],
        predicted_iou=regions.predicted_iou[kept],
        mask_grids=None if regions.mask_grids is None else regions.mask_grids[kept],
        embeddings={source: rows[kept] for source, rows in regions.embeddings.items()},
    )
