"""What an extraction will cost, before it is run."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from regionspot_core.backbones.loading import Backbones, load_backbones
from regionspot_core.cache.plan import CachePlan
from regionspot_core.datasets import AnnotationSet, read_annotations
from regionspot_core.images import require_images
from regionspot_core.prefetch import in_batches
from regionspot_extract.config import ExtractConfig
from regionspot_extract.encode import Encoder, token_shape
from regionspot_extract.pictures import Picture, PictureReader

CALIBRATION_SECONDS = 5.0


@dataclass(frozen=True)
class Extraction:
    """Everything an extraction needs, loaded and checked."""

    config: ExtractConfig
    annotations: AnnotationSet
    backbones: Backbones
    pictures: PictureReader
    encoder: Encoder
    plan: CachePlan


def prepare(config: ExtractConfig, *, backbones: Backbones | None = None) -> Extraction:
    """Read the annotations, load the models and fix the plan.

    Args:
        config: What is asked.
        backbones: Loaded models to use instead of those ``config`` names.

    Raises:
        InputError: An input file, name or folder is wrong.
    """
    annotations = read_annotations(config.annotations, images=config.images)
    require_images(config.images, annotations.image_file)
    backbones = backbones or load_backbones(config.backbones)
    keep = config.keep
    plan = CachePlan(
        region_count=np.diff(annotations.region_start),
        shape=token_shape(backbones, keep),
        part_images=min(config.part_images, len(annotations)),
        keep=keep,
    )
    pictures = PictureReader(
        config.images, annotations, backbones, flip=keep.flip, workers=config.workers
    )
    encoder = Encoder(backbones, annotations, plan)
    return Extraction(config, annotations, backbones, pictures, encoder, plan)


def measure_seconds_per_image(extraction: Extraction) -> float | None:
    """Encode a few of the data set's images and time them; the first batch only warms up.

    None where no image could be read.
    """
    size = extraction.config.batch_images
    # Spread over the set, so that the sample has the set's mix of sizes and region counts.
    count = len(extraction.annotations)
    positions = np.linspace(0, count - 1, min(count, 16 * size)).astype(int)
    pictures = extraction.pictures.read(positions.tolist())
    good = (picture for picture in pictures if isinstance(picture, Picture))
    images, began = 0, time.perf_counter()
    for index, batch in enumerate(in_batches(good, size)):
        if index == 1:
            images, began = 0, time.perf_counter()
        extraction.encoder.encode(batch)
        images += len(batch)
        if index > 0 and time.perf_counter() - began > CALIBRATION_SECONDS:
            break
    return (time.perf_counter() - began) / images if images else None
