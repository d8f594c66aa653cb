"""Everything an extraction needs, loaded and checked before anything is written."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray

from regionspot_core.backbones.loading import Backbones, load_backbones
from regionspot_core.backbones.runtime import Runtime, require_device
from regionspot_core.cache.layout.plan import CachePlan
from regionspot_core.cache.writer import CacheWriter
from regionspot_core.datasets.reading import read_annotations
from regionspot_core.datasets.record import AnnotationSet
from regionspot_core.datasets.unlabelled import read_unlabelled
from regionspot_core.datasets.usable import require_usable
from regionspot_core.fingerprint import Fingerprint
from regionspot_core.imaging.sources import ImageSource, open_images
from regionspot_core.text.class_bank import ClassBank
from regionspot_core.text.embed import build_class_bank, load_class_bank, paper_text
from regionspot_extract.config import ExtractConfig
from regionspot_extract.encoding.encode import Encoder, resolve_keep, token_shape
from regionspot_extract.encoding.pictures import PictureReader, file_bytes
from regionspot_extract.encoding.stages import Clock, no_clock
from regionspot_extract.encoding.transfer import DeviceTransfer


@dataclass(frozen=True)
class Extraction:
    """Everything an extraction needs, loaded and checked."""

    config: ExtractConfig
    images: ImageSource
    annotations: AnnotationSet
    backbones: Backbones
    pictures: PictureReader
    encoder: Encoder
    plan: CachePlan
    device: torch.device
    clock: Clock
    """Times all stages."""
    loading_seconds: float
    """Seconds that loading took."""


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
    images = open_images(config.images)
    annotations = read_regions(config, images)
    require_usable(annotations, images, strict=config.strict)
    backbones = backbones or load_backbones(config.backbones)
    keep = resolve_keep(config.keep, backbones)
    plan = CachePlan(
        region_count=np.diff(annotations.region_start),
        shape=token_shape(backbones, keep),
        part_images=min(config.part_images, len(annotations)),
        keep=keep,
    )
    device = Runtime.create(config.backbones.device).device
    transfer = DeviceTransfer(device)
    pictures = PictureReader(
        images,
        annotations,
        backbones,
        keep=keep,
        workers=config.workers,
        max_pixels=config.max_pixels,
        transfer=transfer,
        clock=clock,
    )
    encoder = Encoder(backbones, annotations, plan, transfer=transfer, clock=clock)
    seconds = time.perf_counter() - began
    return Extraction(
        config, images, annotations, backbones, pictures, encoder, plan, device, clock, seconds
    )


def read_regions(config: ExtractConfig, images: ImageSource) -> AnnotationSet:
    """Read the annotations; or the proposals, with the classes of the bank that is given."""
    if config.annotations is not None:
        return read_annotations(config.annotations, images=images)
    assert config.proposals is not None
    regions = read_unlabelled(config.proposals, images)
    if config.bank is None:
        return regions
    return replace(regions, vocabulary=ClassBank.load(config.bank).vocabulary)


class Ingredients(TypedDict):
    """Arguments that the files of the plan are made from."""

    plan: CachePlan
    annotations: AnnotationSet
    make_bank: Callable[[], ClassBank]
    fingerprint: Fingerprint
    image_bytes: Callable[[], NDArray[np.int64]]


def open_writer(extraction: Extraction) -> CacheWriter:
    """Create the extraction's store, or open the one there if it was planned the same way."""
    return CacheWriter.open_or_create(extraction.config.out, **ingredients(extraction))


def ingredients(extraction: Extraction) -> Ingredients:
    """Return what the plan's files are made from; the bank and the images' sizes as functions."""
    config, annotations = extraction.config, extraction.annotations
    clip = extraction.backbones.image_text_encoder
    bank = config.bank and load_class_bank(config.bank, clip, annotations.vocabulary)
    text = bank.text if bank else paper_text(annotations.vocabulary)
    return {
        "plan": extraction.plan,
        "annotations": annotations,
        "make_bank": lambda: bank or build_class_bank(clip, annotations.vocabulary),
        "fingerprint": {
            "backbones": extraction.backbones.fingerprint,
            "dataset": annotations.fingerprint(),
            "classes": text.recipe(),
            "precision": config.backbones.precision,
        },
        "image_bytes": lambda: file_bytes(
            extraction.images, annotations.image_file, workers=config.workers
        ),
    }
