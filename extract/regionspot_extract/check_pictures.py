"""Three images of a data set with their boxes and names, side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from regionspot_core.datasets.record import AnnotationSet
from regionspot_core.errors import ImageError
from regionspot_core.imaging.drawing import drawn_regions
from regionspot_core.imaging.sources import ImageSource
from regionspot_core.imaging.transforms import RGBImage
from regionspot_core.support.files import written_aside
from regionspot_core.support.lettering import Lettering
from regionspot_core.support.optional_picture import optional_picture
from regionspot_core.support.progress import say

SAMPLES = 3
TRIED = 12
"""Images that are tried for samples, since some may be missing."""
HEIGHT = 640
"""Of the picture, in pixels."""
GAP = 12
"""White between samples, in pixels."""


def draw_samples(
    path: Path, annotations: AnnotationSet, images: ImageSource, max_pixels: int
) -> list[str]:
    """Write samples from the beginning, the middle and the end of a data set to a PNG.

    Args:
        path: The file to write.
        annotations: The data set, with masks where it has them.
        images: Its images.
        max_pixels: Largest image that is read.

    Returns:
        The files of the images drawn, from left to right; none where no picture could be made.
    """
    drawn: list[str] = []
    scenes: list[RGBImage] = []
    made = False
    lettering = Lettering.of(annotations.vocabulary.names)
    if lettering.advice:
        say(lettering.advice)
    with optional_picture(path):
        for image in _candidates(annotations):
            name = annotations.image_file[image]
            try:
                pixels = images.read(name, size=annotations.size(image), max_pixels=max_pixels)
            except ImageError:
                continue
            scenes.append(_at_height(_scene(annotations, image, pixels, lettering)))
            drawn.append(name)
            if len(drawn) == SAMPLES:
                break
        if scenes:
            with written_aside(path) as partial:
                Image.fromarray(_side_by_side(scenes)).save(partial, format="PNG")
        made = bool(scenes)
    return drawn if made else []


def _candidates(annotations: AnnotationSet) -> list[int]:
    """Return positions of images with regions to try, the first of them far from each other."""
    having = np.flatnonzero(np.diff(annotations.region_start))
    count = min(TRIED, len(having))
    spread = having[np.linspace(0, len(having) - 1, count).round().astype(int)].tolist()
    step = max(1, count // SAMPLES)
    return [spread[place] for first in range(step) for place in range(first, count, step)]


def _scene(
    annotations: AnnotationSet, image: int, pixels: RGBImage, lettering: Lettering
) -> RGBImage:
    regions = annotations.regions(image)
    rows = range(regions.start, regions.stop)
    names = annotations.vocabulary.names
    return drawn_regions(
        pixels,
        boxes=annotations.box[regions],
        masks=[annotations.masks.rle(row) if annotations.masks else None for row in rows],
        labels=[names[index] for index in annotations.class_index[regions]],
        lettering=lettering,
    )


def _at_height(scene: RGBImage) -> RGBImage:
    height, width = scene.shape[:2]
    size = max(1, round(width * HEIGHT / height)), HEIGHT
    return np.asarray(Image.fromarray(scene).resize(size, Image.Resampling.LANCZOS))


def _side_by_side(scenes: list[RGBImage]) -> RGBImage:
    gap = np.full((HEIGHT, GAP, 3), 255, dtype=np.uint8)
    return np.hstack([part for scene in scenes for part in (gap, scene)][1:])
