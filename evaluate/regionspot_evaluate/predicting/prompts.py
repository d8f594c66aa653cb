"""The boxes, points and masks that a command's texts ask about in one picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from regionspot_core.errors import InputError
from regionspot_core.imaging.images import read_image
from regionspot_core.imaging.prompts import BoxPrompts, MaskPrompts, PointPrompts, Prompts
from regionspot_core.imaging.transforms import Size
from regionspot_evaluate.config import PredictConfig


def read_prompts(config: PredictConfig, size: Size) -> dict[str, Prompts]:
    """Return the prompts by kind; empty where none is given.

    Raises:
        InputError: If one is malformed, or outside a picture of ``size`` (height, width).
    """
    prompts: dict[str, Prompts] = {}
    if config.boxes:
        boxes = [_numbers("--box", text, "x1,y1,x2,y2") for text in config.boxes]
        prompts["box"] = BoxPrompts.create(boxes, size)
    if config.points:
        points = [_numbers("--point", text, "x,y") for text in config.points]
        prompts["point"] = PointPrompts.create(points, size)
    if config.masks:
        masks = [_read_mask(path, size, config.max_pixels) for path in config.masks]
        prompts["mask"] = MaskPrompts.create(np.stack(masks), size)
    return prompts


def _numbers(option: str, text: str, form: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != form.count(",") + 1:
        raise InputError(f"{option} {text!r}: expected {form} in the image's pixels")
    return numbers


def _read_mask(path: Path, size: Size, max_pixels: int) -> NDArray[np.bool_]:
    gray = read_image(path, max_pixels=max_pixels).max(axis=2)
    mask = gray > gray.max() / 2  # a JPEG's black is not all zeros
    if mask.shape != size or not mask.any():
        height, width = mask.shape
        found = "a black one" if mask.shape == size else f"{width} × {height}"
        raise InputError(
            f"--mask {path}: expected a picture of {size[1]} × {size[0]} pixels, as the image, "
            f"with the region not black; got {found}"
        )
    return np.asarray(mask)
