"""The configuration of an extraction."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from regionspot_core.backbones.loading import BackboneConfig
from regionspot_core.cache.layout.plan import Keep
from regionspot_core.cache.storage.store import Location
from regionspot_core.config import Config
from regionspot_core.distributed.ray_cluster import (
    RayOptions,
    require_ray_fits,
    require_ray_is_used,
)
from regionspot_core.distributed.shares import Shard
from regionspot_core.imaging.images import MAX_PIXELS, MOST_PIXELS

MOST_BATCH_IMAGES = 4_096
"""Limit of the images that are in memory together."""
MOST_WORKERS = 1_024
MOST_DEVICES = 64


class ExtractConfig(Config):
    """One extraction: images and annotations in, one store out."""

    images: Path
    annotations: Path
    out: Location
    """A folder, or a URL such as ``s3://bucket/path``."""
    bank: Path | None = None
    """Class embeddings that `regionspot extract text` wrote; None makes the paper's."""
    backbones: BackboneConfig = BackboneConfig()
    batch_images: int = Field(default=8, ge=1, le=MOST_BATCH_IMAGES)
    """Images encoded together."""
    part_images: int = Field(default=256, ge=1, le=65_536)
    """Images of a part, one shard file: an interrupted run loses the one that it encodes and the
    one that it writes."""
    keep: Keep = Keep()
    """The part of the models' output that is kept, and its encoding."""
    shard: Shard = Shard()
    """The share of the parts that this run does."""
    retry_failed: bool = False
    """Whether parts of which images could not be read are done again."""
    workers: int = Field(default=4, ge=1, le=MOST_WORKERS)
    """Threads that decode and resize."""
    max_pixels: int = Field(default=MAX_PIXELS, ge=1, le=MOST_PIXELS)
    """Limit of an image's pixels; a larger one is not decoded, and counts as unreadable."""
    engine: Literal["local", "ray"] = "local"
    """Whether this process does the parts, or workers on a Ray cluster."""
    devices: tuple[str, ...] = ()
    """Several devices of this machine, a process each; none leaves it to ``backbones.device``."""
    ray: RayOptions = RayOptions()

    @field_validator("engine")
    @classmethod
    def _models_fit(cls, engine: str, info: ValidationInfo) -> str:
        device = info.data["backbones"].device if "backbones" in info.data else "auto"
        require_ray_fits(engine, device)
        if engine == "ray" and "backbones" in info.data and info.data["backbones"].compile:
            raise ValueError(
                "expected no --compile with --engine ray, whose workers run the models from two "
                "threads: a CUDA graph belongs to one"
            )
        return engine

    @field_validator("devices")
    @classmethod
    def _devices_are_used(cls, devices: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if len(devices) > MOST_DEVICES:
            raise ValueError(f"expected at most {MOST_DEVICES} devices, got {len(devices):,}")
        if len(devices) > 1 and info.data.get("engine") == "ray":
            raise ValueError(
                "expected one device with --engine ray, since Ray gives each worker its own GPU; "
                f"found {', '.join(devices)}"
            )
        return devices

    @field_validator("ray")
    @classmethod
    def _ray_is_used(cls, options: RayOptions, info: ValidationInfo) -> RayOptions:
        require_ray_is_used(info.data.get("engine", "ray"), options)
        return options
