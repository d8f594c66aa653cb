"""Everything an extraction needs, loaded and checked before anything is written."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch

from regionspot_core.backbones.loading import Backbones, load_backbones
from regionspot_core.backbones.runtime import Runtime, require_device
from regionspot_core.cache.plan import CachePlan
from regionspot_core.datasets import AnnotationSet, read_annotations
from regionspot_core.images import require_images
from regionspot_extract.config import ExtractConfig
from regionspot_extract.encode import Encoder, token_shape
from regionspot_extract.pictures import PictureReader
from regionspot_extract.stages import Clock, no_clock
from regionspot_extract.transfer import Bus


@dataclass(frozen=True)
class Extraction:
    """Everything an extraction needs, loaded and checked."""

    config: ExtractConfig
    annotations: AnnotationSet
    backbones: Backbones
    pictures: PictureReader
    encoder: Encoder
    plan: CachePlan
    device: torch.device
    clock: Clock
    """Times all stages."""
    loading_seconds: float
    """What it took to get here."""


def prepare(
    config: ExtractConfig, *, backbones: Backbones | None = None, clock: Clock = no_clock
) -> Extraction:
    """Read the annotations, load the models and fix the plan.

    Args:
        config: What is asked.
        backbones: Loaded models to use instead of those ``config`` names.
        clock: Told of every stage.

    Raises:
        InputError: An input file, name, folder or device is wrong.
    """
    began = time.perf_counter()
    for device_name in config.devices:
        require_device(device_name)
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
    device = Runtime.create(config.backbones.device).device
    bus = Bus(device)
    pictures = PictureReader(
        config.images,
        annotations,
        backbones,
        flip=keep.flip,
        workers=config.workers,
        max_pixels=config.max_pixels,
        bus=bus,
        clock=clock,
    )
    encoder = Encoder(backbones, annotations, plan, bus=bus, clock=clock)
    seconds = time.perf_counter() - began
    return Extraction(
        config, annotations, backbones, pictures, encoder, plan, device, clock, seconds
    )
