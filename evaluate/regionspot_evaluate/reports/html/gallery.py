"""Choosing a report's pictures, and preparing each: a thumbnail, and regions to draw over it.

Boxes, masks and names are drawn by the page, so that one thumbnail serves what is true and what
each run said, and letters stay sharp.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from regionspot_core.datasets.detections.detections_file import DetectionsFile
from regionspot_core.datasets.record import AnnotationSet
from regionspot_core.errors import ImageError
from regionspot_core.imaging.boxes import box_iou
from regionspot_core.imaging.sources import ImageSource
from regionspot_evaluate.reports.html.naming import LEAST_IOU, MISSED, Naming
from regionspot_evaluate.reports.html.read_run import Detections

LONG_SIDE = 480
"""Longest side of a thumbnail, in pixels."""
QUALITY = 78
REGIONS = 12
"""Drawn on a picture for a run; of annotated ones twice as many."""
SAME_PLACE = 0.7
"""IoU from which a weaker detection is another name for the same place, and is not drawn."""
MASK_POINTS = 160
"""Most points of a mask's outlines; one that needs more is made coarser."""


@dataclass(frozen=True)
class Choice:
    """Images for one part of the gallery."""

    name: str
    note: str
    images: list[int]


@dataclass(frozen=True)
class RunToShow:
    """One run, as the gallery needs it."""

    file: DetectionsFile
    detections: Detections
    naming: Naming


def choose_images(
    annotations: AnnotationSet, namings: Sequence[Naming], *, count: int, seed: int = 0
) -> list[Choice]:
    """Choose best, worst and random images of one run; of several, where they differ most.

    An image's measure is the share of its annotated regions that are named right. Among equals
    the one with more regions comes first, then the one that is scored more boldly.
    """
    number = np.diff(annotations.region_start)
    owner = np.repeat(np.arange(len(annotations)), number)
    seen = np.flatnonzero(number)
    shares = [_image_share(naming, owner, number) for naming in namings]
    if len(namings) == 1:
        bold = np.bincount(owner, weights=namings[0].score, minlength=len(number))
        best = seen[np.lexsort([-bold[seen], -number[seen], -shares[0][seen]])][:count]
        worst = seen[np.lexsort([-bold[seen], -number[seen], shares[0][seen]])]
        worst = worst[shares[0][worst] < 1][:count]
        choices = [
            Choice("Worst", "the fewest regions named right", worst.tolist()),
            Choice("Best", "the most regions named right", best.tolist()),
        ]
    elif len(namings) > 2:
        spread = (np.max(shares, axis=0) - np.min(shares, axis=0)) * number
        order = seen[np.argsort(-spread[seen], kind="stable")]
        differ = order[spread[order] > 0][:count].tolist()
        choices = [Choice("Runs differ", "most regions between the best run and the worst", differ)]
    else:
        gain = (shares[1] - shares[0]) * number
        order = seen[np.argsort(-gain[seen], kind="stable")]
        choices = [
            Choice("B better", "most regions gained", order[gain[order] > 0][:count].tolist()),
            Choice(
                "A better", "most regions lost", order[::-1][gain[order[::-1]] < 0][:count].tolist()
            ),
        ]
    random = np.random.default_rng(seed).permutation(len(annotations))[:count]
    choices.append(Choice("Random", "drawn with a fixed seed", np.sort(random).tolist()))
    return choices


def choose_examples(
    annotations: AnnotationSet,
    namings: Sequence[Naming],
    wanted: Sequence[tuple[int, int, int]],
    *,
    shown: Sequence[int],
    most: int,
) -> list[int]:
    """Choose images for what a reader can click on and the images ``shown`` do not have.

    Args:
        annotations: The regions.
        namings: Predictions of the annotated regions, by run.
        wanted: Run, true class and what the run calls a region of it, the most important first; for
            a class alone the number of runs, the class and 0.
        shown: Images that the page has already.
        most: Largest number of images.
    """
    true = annotations.class_index.astype(np.int64)
    stride = len(annotations.vocabulary) + 1  # the last is for regions that are missed
    keys_NR = np.array(
        [
            (number * stride + true) * stride + called % stride
            for number, called in enumerate([*(each.predicted for each in namings), true * 0])
        ]
    )
    owner = np.repeat(np.arange(len(annotations)), np.diff(annotations.region_start))
    known, first = np.unique(keys_NR, return_index=True)
    image_of = dict(zip(known.tolist(), owner[first % len(owner)].tolist(), strict=True))
    has = set(keys_NR[:, np.isin(owner, shown)].ravel().tolist())
    chosen = list[int]()
    for number, true_class, called in wanted:
        key = (number * stride + true_class) * stride + called % stride
        if key in has or key not in image_of:
            continue
        if len(chosen) == most:
            break
        chosen.append(image_of[key])
        has |= set(keys_NR[:, annotations.regions(chosen[-1])].ravel().tolist())
    return chosen


def make_pictures(
    annotations: AnnotationSet,
    images: ImageSource,
    runs: Sequence[RunToShow],
    chosen: Sequence[int],
    *,
    max_pixels: int,
) -> tuple[dict[int, dict[str, Any]], list[str]]:
    """Return the page's data of the chosen images, and the images that could not be read.

    Coordinates in it are a thumbnail's pixels.
    """
    shown = {image: [regions_to_show(run.detections, image) for run in runs] for image in chosen}
    masks = [
        run.file.segmentations(_entries(run, [each[n] for each in shown.values()]))
        for n, run in enumerate(runs)
    ]
    pictures, failed = dict[int, dict[str, Any]](), list[str]()
    for image in chosen:
        size = annotations.size(image)
        try:
            name = annotations.image_file[image]
            pixels = images.read(name, size=size, max_pixels=max_pixels)
        except ImageError as error:
            failed.append(str(error))
            continue
        jpeg, width, height = thumbnail(pixels)
        scale = np.array([width / size[1], height / size[0]] * 2)
        pictures[image] = {
            "file": annotations.image_file[image],
            "width": width,
            "height": height,
            "jpeg": base64.b64encode(jpeg).decode("ascii"),
            "true": _true_regions(annotations, image, scale, (width, height)),
            "said": [
                _said_regions(annotations, image, run, shown[image][n], masks[n], scale)
                for n, run in enumerate(runs)
            ],
            "called": [run.naming.predicted[annotations.regions(image)].tolist() for run in runs],
            "classes": annotations.class_index[annotations.regions(image)].tolist(),
            "right": [
                [int(run.naming.right[annotations.regions(image)].sum()) for run in runs],
                int(annotations.region_start[image + 1] - annotations.region_start[image]),
            ],
        }
    return pictures, failed


def regions_to_show(detections: Detections, image: int) -> list[int]:
    """Return an image's highest scored detections, one for each place."""
    kept: list[int] = []
    found = detections.of_image(image)
    for place in range(found.start, found.stop):
        if len(kept) == REGIONS:
            break
        overlap = box_iou(detections.box[place][None], detections.box[kept].reshape(-1, 4))
        if not (overlap >= SAME_PLACE).any():
            kept.append(place)
    return kept


def thumbnail(pixels: NDArray[np.uint8]) -> tuple[bytes, int, int]:
    """Return a JPEG of at most ``LONG_SIDE``, its width and height; it is never enlarged."""
    height, width = pixels.shape[:2]
    scale = min(1.0, LONG_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    picture = Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.save(file, format="JPEG", quality=QUALITY if scale < 1 else 92, optimize=True)
    return file.getvalue(), *size


def outlines(rle: Any, size: tuple[int, int]) -> list[list[float]]:  # noqa: ANN401 - JSON
    """Return a mask's outlines as x, y, x, y, … in a picture of ``size`` (width, height).

    A small picture's are traced larger than it is, since a page enlarges it.
    """
    import cv2
    from pycocotools import mask as codec

    if isinstance(rle["counts"], list):
        rle = codec.frPyObjects(rle, *rle["size"])
    enlarged = max(1.0, LONG_SIDE / max(size))
    traced = max(1, round(size[0] * enlarged)), max(1, round(size[1] * enlarged))
    mask = Image.fromarray(codec.decode(rle) * np.uint8(255))
    inside = np.asarray(mask.resize(traced, Image.Resampling.BILINEAR)) >= 128
    contours, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    for tolerance in (0.9, 1.8, 3.5, 7.0, 14.0):
        rings = [cv2.approxPolyDP(ring, tolerance, True).reshape(-1, 2) for ring in contours]
        rings = [ring for ring in rings if len(ring) >= 3]
        if sum(map(len, rings)) <= MASK_POINTS:
            break
    # A contour goes through the middles of pixels.
    back = np.array(size) / traced
    return [np.round((ring + 0.5) * back, 1).reshape(-1).tolist() for ring in rings[:MASK_POINTS]]


def _image_share(
    naming: Naming, owner: NDArray[np.intp], number: NDArray[np.int64]
) -> NDArray[np.float64]:
    right = np.bincount(owner, weights=naming.right, minlength=len(number))
    return np.divide(right, number, out=np.zeros(len(number)), where=number > 0)


def _entries(run: RunToShow, shown: Sequence[Sequence[int]]) -> set[int]:
    return {int(run.detections.entry[place]) for each in shown for place in each}


def _true_regions(
    annotations: AnnotationSet, image: int, scale: NDArray[np.float64], size: tuple[int, int]
) -> list[dict[str, Any]]:
    regions = annotations.regions(image)
    found = []
    for region in list(range(regions.start, regions.stop))[: 2 * REGIONS]:
        rle = annotations.masks and annotations.masks.rle(region)
        found.append(
            {
                "class": int(annotations.class_index[region]),
                "box": _scaled(annotations.box[region], scale),
                "mask": outlines(rle, size) if rle else [],
            }
        )
    return found


def _said_regions(
    annotations: AnnotationSet,
    image: int,
    run: RunToShow,
    shown: Sequence[int],
    masks: dict[int, Any],
    scale: NDArray[np.float64],
) -> list[dict[str, Any]]:
    detections, true = run.detections, annotations.regions(image)
    height, width = annotations.size(image)
    size = round(width * scale[0]), round(height * scale[1])
    found = []
    for place in shown:
        near = box_iou(detections.box[place][None], annotations.box[true])[0]
        same = near.size and near.max() >= LEAST_IOU
        predicted = int(detections.class_index[place])
        classes = annotations.class_index[true]
        # A box over two annotated ones is right if either has its name.
        right = bool((classes[near >= LEAST_IOU] == predicted).any()) if same else False
        name = predicted if right else int(classes[near.argmax()]) if same else MISSED
        rle = masks.get(int(detections.entry[place]))
        found.append(
            {
                "class": predicted,
                "true": name,
                "score": round(float(detections.score[place]), 4),
                "box": _scaled(detections.box[place], scale),
                "mask": outlines(rle, size) if isinstance(rle, dict) else [],
            }
        )
    return found


def _scaled(box: NDArray[np.floating], scale: NDArray[np.float64]) -> list[float]:
    return [round(float(value), 1) for value in box * scale]
