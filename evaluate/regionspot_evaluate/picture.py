"""One image with its regions drawn: outlines, boxes and names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import supervision as sv
from matplotlib.font_manager import findfont
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as rle_codec

from regionspot_core.boxes import FloatArray
from regionspot_core.files import written_aside
from regionspot_core.transforms import RGBImage
from regionspot_evaluate.colours import PALETTE

SIDES = (640, 1600)
"""The picture's long side, in pixels: small images are enlarged, large ones reduced."""


def draw_regions(
    path: Path,
    image: RGBImage,
    *,
    boxes: FloatArray,
    masks: Sequence[dict[str, Any]],
    labels: Sequence[str],
) -> None:
    """Write a PNG.

    Args:
        path: Where.
        image: uint8 (H, W, 3), RGB.
        boxes: (R, 4) xyxy, original pixels.
        masks: R run-length encodings, original pixels.
        labels: R lines of text.
    """
    height, width = image.shape[:2]
    scale = min(max(1.0, SIDES[0] / max(height, width)), SIDES[1] / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    scene = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
    if len(boxes):
        scaled = boxes * ([size[0] / width, size[1] / height] * 2)
        scene = _annotate(scene, scaled, masks, labels)
    with written_aside(path) as partial:
        Image.fromarray(scene).save(partial, format="PNG")


def _annotate(
    scene: RGBImage, boxes: FloatArray, masks: Sequence[dict[str, Any]], labels: Sequence[str]
) -> RGBImage:
    height, width = scene.shape[:2]
    detections = sv.Detections(
        xyxy=boxes.astype(np.float32),
        mask=np.stack([_at_size(mask, (width, height)) for mask in masks]),
        class_id=np.arange(len(boxes)),
    )
    look = {"color": sv.ColorPalette.from_hex(list(PALETTE)), "color_lookup": sv.ColorLookup.INDEX}
    letters = max(11, round(max(height, width) / 64))
    line = max(2, letters // 8)
    # Outlines leave the region's own colours as they are: names are often about these. White
    # below a line sets it off from a region of its own colour.
    painters = (
        sv.PolygonAnnotator(color=sv.Color.WHITE, thickness=2 * line),
        sv.PolygonAnnotator(**look, thickness=line),
        sv.BoxAnnotator(**look, thickness=max(1, line // 2)),
    )
    canvas = np.ascontiguousarray(scene[..., ::-1])  # supervision paints BGR
    for painter in painters:
        canvas = painter.annotate(canvas, detections)
    # matplotlib's own font has the letters of most alphabets, supervision's has few.
    names = sv.RichLabelAnnotator(
        **look,
        font_path=findfont("DejaVu Sans"),
        font_size=letters,
        text_padding=letters // 3,
        smart_position=True,
    )
    canvas = names.annotate(canvas, detections, labels=list(labels))
    return np.ascontiguousarray(canvas[..., ::-1])


def _at_size(rle: dict[str, Any], size: tuple[int, int]) -> NDArray[np.bool_]:
    mask = Image.fromarray(rle_codec.decode(rle) * np.uint8(255))
    return np.asarray(mask.resize(size, Image.Resampling.BILINEAR)) >= 128
