"""Regions without a prompt: segment-anything's automatic mask generator on an embedded image."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from regionspot_core.backbones.config import Thresholds
from regionspot_core.backbones.protocols import ProposedRegions
from regionspot_core.backbones.runtime import masks_at_once
from regionspot_core.imaging.boxes import clip_to_image, xywh_to_xyxy
from regionspot_core.imaging.transforms import Resize, Size

POINTS_AT_ONCE = 16
MASKS_A_POINT = 3
"""SAM's answers to one point: part, subpart and whole."""


def propose_regions(
    model: Any,  # noqa: ANN401 - a segment_anything Sam; the package is untyped
    resize: Resize,
    embedding: torch.Tensor,
    size: Size,
    *,
    points_per_side: int,
    thresholds: Thresholds,
) -> ProposedRegions:
    """Return the masks that the generator keeps, best predicted IoU first.

    Args:
        model: The SAM that made ``embedding``.
        resize: Its resize.
        embedding: (1, S, g, g).
        size: Original (height, width).
        points_per_side: The grid is so many points wide and high.
        thresholds: What is kept.
    """
    from segment_anything import SamAutomaticMaskGenerator

    from regionspot_core.backbones.sam._embedded_predictor import EmbeddedPredictor

    points = MASKS_A_POINT * POINTS_AT_ONCE
    generator = SamAutomaticMaskGenerator(
        model,
        points_per_side=points_per_side,
        points_per_batch=max(1, masks_at_once(size, most=points) // MASKS_A_POINT),
        pred_iou_thresh=thresholds.iou,
        stability_score_thresh=thresholds.stability,
        output_mode="coco_rle",
    )
    generator.predictor = EmbeddedPredictor(
        model, embedding, size=size, input_size=resize.target_size(size)
    )
    # The generator asks the picture for its size alone; zeros of stride 0 cost no memory.
    found = generator.generate(np.broadcast_to(np.uint8(0), (*size, 3)))
    found.sort(key=lambda region: -region["predicted_iou"])
    boxes = xywh_to_xyxy(np.array([region["bbox"] for region in found]).reshape(-1, 4))
    # SamAutomaticMaskGenerator's far edges are the last pixels' indices.
    boxes[:, 2:] += 1
    scores = np.array([region["predicted_iou"] for region in found], dtype=np.float32)
    return ProposedRegions(
        clip_to_image(boxes, height=size[0], width=size[1]).astype(np.float32),
        scores.clip(0, 1),
        tuple(region["segmentation"] for region in found),
    )
