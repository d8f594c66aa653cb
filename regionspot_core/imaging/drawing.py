"""Pictures of one image with its regions outlined and labelled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import supervision as sv
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pycocotools import mask as rle_codec

from regionspot_core.imaging.boxes import FloatArray
from regionspot_core.imaging.label_places import place_labels
from regionspot_core.imaging.transforms import RGBImage
from regionspot_core.support.files import written_aside
from regionspot_core.support.lettering import Lettering, as_one_line

PALETTE = ("#2f7ed8", "#e8710a", "#8e44ad", "#0f9d8a", "#c2185b", "#7a6a00", "#455a64", "#b71c1c")
"""One a region, dark enough to carry white letters."""
SIDES = (640, 1600)
"""Long side of a picture of one image, in pixels: small images are enlarged, large ones reduced."""
LABEL_LETTERS = 60
"""Characters of a label; longer names are cut."""


def draw_regions(
    path: Path,
    image: RGBImage,
    *,
    boxes: FloatArray,
    masks: Sequence[dict[str, Any] | None],
    labels: Sequence[str],
    lettering: Lettering | None = None,
) -> None:
    """Write a PNG of an image with its regions; arguments are as in :func:`drawn_regions`."""
    scene = drawn_regions(image, boxes=boxes, masks=masks, labels=labels, lettering=lettering)
    with written_aside(path) as partial:
        Image.fromarray(scene).save(partial, format="PNG")


def drawn_regions(
    image: RGBImage,
    *,
    boxes: FloatArray,
    masks: Sequence[dict[str, Any] | None],
    labels: Sequence[str],
    lettering: Lettering | None = None,
) -> RGBImage:
    """Return an image at the size of a picture, with its regions outlined and labelled.

    Args:
        image: uint8 (H, W, 3), RGB.
        boxes: (R, 4) xyxy, original pixels.
        masks: R run-length encodings, original pixels; None for a region of a box alone.
        labels: R lines of text.
        lettering: Fonts for the labels; they are looked for where none are given.
    """
    height, width = image.shape[:2]
    scale = min(max(1.0, SIDES[0] / max(height, width)), SIDES[1] / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    scene = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
    if len(boxes):
        scaled = boxes * ([size[0] / width, size[1] / height] * 2)
        lines = [_shortened(label) for label in labels]
        scene = _annotate(scene, scaled, masks, lines, lettering or Lettering.of(lines))
    return scene


def _shortened(label: str) -> str:
    line = as_one_line(label)
    return line if len(line) <= LABEL_LETTERS else f"{line[: LABEL_LETTERS - 1]}…"


def _annotate(
    scene: RGBImage,
    boxes: FloatArray,
    masks: Sequence[dict[str, Any] | None],
    labels: Sequence[str],
    lettering: Lettering,
) -> RGBImage:
    height, width = scene.shape[:2]
    detections = sv.Detections(
        xyxy=boxes.astype(np.float32),
        mask=np.stack([_at_size(mask, (width, height)) for mask in masks]),
        class_id=np.arange(len(boxes)),
    )
    colours = {
        "color": sv.ColorPalette.from_hex(list(PALETTE)),
        "color_lookup": sv.ColorLookup.INDEX,
    }
    letters = max(11, round(max(height, width) / 64))
    line = max(2, letters // 8)
    # Outlines leave the region's own colours as they are: names are often about these. White
    # below a line sets it off from a region of its own colour.
    painters = (
        sv.PolygonAnnotator(color=sv.Color.WHITE, thickness=2 * line),
        sv.PolygonAnnotator(**colours, thickness=line),
        sv.BoxAnnotator(**colours, thickness=max(1, line // 2)),
    )
    canvas = np.ascontiguousarray(scene[..., ::-1])  # supervision paints BGR
    for painter in painters:
        canvas = painter.annotate(canvas, detections)
    image = Image.fromarray(np.ascontiguousarray(canvas[..., ::-1]))
    _write_labels(image, boxes, labels, lettering, letters)
    return np.asarray(image)


def _write_labels(
    image: Image.Image,
    boxes: FloatArray,
    labels: Sequence[str],
    lettering: Lettering,
    letters: int,
) -> None:
    """Write labels of ``letters`` pixels in boxes of the regions' colours, none over another."""
    padding = letters // 3
    fonts = {
        region: ImageFont.truetype(str(file), letters)
        for file, chosen in lettering.by_file(labels).items()
        for region in chosen
    }
    height = letters + 2 * padding
    sizes = [
        (height, round(fonts[region].getlength(label)) + 2 * padding)
        for region, label in enumerate(labels)
    ]
    places = place_labels(boxes, sizes, (image.height, image.width))
    paint = ImageDraw.Draw(image)
    for region, (x, y) in enumerate(places.tolist()):  # a line to the box, below all labels
        middle = x + sizes[region][1] / 2, y + height / 2
        x1, y1, x2, y2 = boxes[region].tolist()
        end = min(max(middle[0], x1), x2), min(max(middle[1], y1), y2)
        paint.line([middle, end], fill=PALETTE[region % len(PALETTE)], width=2)
    for region, (x, y) in enumerate(places.tolist()):
        right, bottom = x + sizes[region][1] - 1, y + height - 1
        paint.rectangle((x, y, right, bottom), fill=PALETTE[region % len(PALETTE)])
        paint.text(
            (x + padding, y + height / 2), labels[region], "white", fonts[region], anchor="lm"
        )


def _at_size(rle: dict[str, Any] | None, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return a mask for a picture of width, height ``size``; an empty one has no outline."""
    if rle is None:
        return np.zeros(size[::-1], dtype=np.bool_)
    mask = Image.fromarray(rle_codec.decode(rle) * np.uint8(255))
    return np.asarray(mask.resize(size, Image.Resampling.BILINEAR)) >= 128
