"""A grid of pictures, each with its regions and what they are called."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as rle_codec

from regionspot_core.imaging.drawing import PALETTE
from regionspot_core.imaging.transforms import RGBImage, Size
from regionspot_core.support.lettering import Lettering, as_one_line

RIGHT, WRONG = "#1b7f3b", "#c62828"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
REGIONS_SHOWN = 8
DRAWN_PIXELS = 700
"""The longer side of an image when it is drawn, at least: twice what its place in the grid has."""
LINE_LETTERS = 38
"""Characters that fit beside the confidence at full size; longer lines are set smaller."""


@dataclass(frozen=True)
class Picture:
    """One image's most confident answer for each region."""

    image: RGBImage
    """Made small by :func:`shrunk`."""
    size: Size
    """(height, width), original pixels"""
    boxes: NDArray[np.float32]
    """(R, 4) xyxy, original pixels"""
    masks: list[dict[str, Any]]
    predicted: list[str]
    confidence: list[float]
    true: list[str | None]
    """None where the true name is not known."""
    rare: list[bool]
    """Whether the true class was never labelled in training."""


def shrunk(image: RGBImage) -> RGBImage:
    """Return an image at about the size it is drawn, each side divided by a whole number."""
    return np.asarray(Image.fromarray(image).reduce(_step(image.shape[:2])))


def _step(size: Size) -> int:
    return max(1, max(size) // DRAWN_PIXELS)


def names_shown(pictures: Sequence[Picture]) -> list[str]:
    """Return the texts that :func:`draw_gallery` draws."""
    return [_line(picture, r) for picture in pictures for r in range(len(picture.predicted))]


def draw_gallery(
    pictures: Sequence[Picture], path: Path, *, columns: int = 4, lettering: Lettering | None = None
) -> None:
    """Write the pictures as a grid to a PNG; fonts are looked for where none are given."""
    if not pictures:
        return
    with (lettering or Lettering.of(names_shown(pictures))).in_matplotlib():
        _draw_grid(pictures, path, columns)


def _draw_grid(pictures: Sequence[Picture], path: Path, columns: int) -> None:
    columns = min(columns, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    lines = min(REGIONS_SHOWN, max(len(p.boxes) for p in pictures))
    cell_height = 3.0 + 0.2 * lines + 0.2
    figure = Figure(figsize=(3.2 * columns, cell_height * rows + 0.55), facecolor="white")
    grid = figure.add_gridspec(
        2 * rows,
        columns,
        height_ratios=[3.0, cell_height - 3.0] * rows,
        left=0.012,
        right=0.988,
        bottom=0.01,
        top=1 - 0.5 / (cell_height * rows + 0.55),
        wspace=0.06,
        hspace=0.02,
    )
    _legend(figure, cell_height * rows + 0.55)
    for index, picture in enumerate(pictures):
        row, column = divmod(index, columns)
        _draw_image(figure.add_subplot(grid[2 * row, column]), picture)
        _draw_names(figure.add_subplot(grid[2 * row + 1, column]), picture, lines)
    figure.savefig(path, dpi=110, format="png")


def _legend(figure: Figure, height: float) -> None:
    y = 1 - 0.28 / height
    figure.text(0.012, y, "right", color=RIGHT, size=11, va="center")
    figure.text(0.07, y, "wrong  (the true name)", color=WRONG, size=11, va="center")
    figure.text(
        0.988, y, "★ never labelled in training", color="0.25", size=11, va="center", ha="right"
    )


def _draw_image(axes: Axes, picture: Picture) -> None:
    height, width = picture.size
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    axes.imshow(picture.image, interpolation="nearest", extent=extent)
    axes.autoscale(False)  # nothing drawn on it changes the image's place
    for index, mask in enumerate(picture.masks[:REGIONS_SHOWN]):
        _outline(axes, mask, _step(picture.size), PALETTE[index % len(PALETTE)])
    unit = max(picture.size) / 96
    for index, box in enumerate(picture.boxes[:REGIONS_SHOWN]):
        x1, y1, x2, y2 = (float(value) - 0.5 for value in box)
        colour = PALETTE[index % len(PALETTE)]
        axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, ec=colour, lw=1.0))
        axes.text(
            x1 + 0.6 * unit, y1 + 0.4 * unit, LETTERS[index], color="white", size=8,
            weight="bold", va="top", ha="left",
            bbox={"facecolor": colour, "edgecolor": "none", "pad": 1.4},
        )  # fmt: skip
    axes.set_axis_off()


def _outline(axes: Axes, mask: dict[str, Any], step: int, colour: str) -> None:
    """Draw a mask's outline, which leaves the region's own colours as they are.

    Args:
        axes: Axes of the picture, in original pixels.
        mask: COCO run-length encoding, original pixels.
        step: Every how many pixels the mask is looked at.
        colour: Colour of the line; white below it sets it off from a region of its own colour.
    """
    inside = np.pad(rle_codec.decode(mask)[::step, ::step], 1)  # outside the image is outside
    if not inside.any():
        return
    x, y = ((np.arange(length) - 1) * step for length in inside.shape[::-1])
    contours = axes.contour(x, y, inside, levels=[0.5])
    lines = contours.allsegs[0]
    contours.remove()  # it holds 10 MB of coordinates; a gallery has a hundred outlines
    for line_colour, width in (("white", 2.6), (colour, 1.3)):
        drawn = LineCollection(lines, colors=[line_colour], linewidths=width, zorder=2)
        axes.add_collection(drawn)


def _draw_names(axes: Axes, picture: Picture, lines: int) -> None:
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(lines + 0.6, -0.4)
    for index, predicted in enumerate(picture.predicted[:REGIONS_SHOWN]):
        true = picture.true[index]
        colour = "0.15" if true is None else RIGHT if predicted == true else WRONG
        text = _line(picture, index)
        size = min(8.5, 8.5 * LINE_LETTERS / len(text))
        axes.text(0.0, index + 0.1, LETTERS[index], color=PALETTE[index % len(PALETTE)],
                  weight="bold", size=8.5, va="center")  # fmt: skip
        axes.text(0.06, index + 0.1, text, color=colour, size=size, va="center")
        axes.text(1.0, index + 0.1, f"{picture.confidence[index]:.0%}", color="0.45", size=7.5,
                  va="center", ha="right")  # fmt: skip


def _line(picture: Picture, region: int) -> str:
    """Return the line of a region's name, with the true one behind it where that is another."""
    predicted, true = picture.predicted[region], picture.true[region]
    name = predicted if true is None or predicted == true else f"{predicted}  ({true})"
    return f"{as_one_line(name)}{' ★' if picture.rare[region] else ''}"
