"""Both frozen models of a run, from one configuration."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch
from pydantic import Field, model_validator

from regionspot_core.backbones.protocols import (
    ImageTextEncoder,
    RegionEncoder,
    backbones_fingerprint,
)
from regionspot_core.backbones.registry import TINY, load_image_text_encoder, load_region_encoder
from regionspot_core.backbones.runtime import Precision, Runtime, best_precision
from regionspot_core.config import Config
from regionspot_core.imaging.transforms import RGBImage, Size

LARGEST_INPUT = 8_192
"""Pixels of a side: eight times SAM's own, whose position table then takes 800 MB."""


class BackboneConfig(Config):
    """Which frozen models, and where and how they run."""

    sam: str = TINY
    sam_checkpoint: Path | None = None
    clip: str = TINY
    clip_pretrained: str | None = None
    sam_input: int | None = Field(default=None, ge=1, le=LARGEST_INPUT)
    """Side of SAM's input in pixels; None is the pretraining one."""
    clip_input: int | None = Field(default=None, ge=1, le=LARGEST_INPUT)
    """Side of CLIP's input in pixels; None is the pretraining one."""
    device: str = "auto"
    precision: Precision = "float32"
    """``auto`` is taken too, and is then what :func:`best_precision` says of the device; the tiny
    models stay in float32, so that their figures are the same on every processor."""
    compile: int = Field(default=0, ge=0, le=65_536)
    """Images of the batches for which ``torch.compile`` makes kernels of the image encoders."""

    @model_validator(mode="before")
    @classmethod
    def _precision_of_the_device(cls, values: Any) -> Any:  # noqa: ANN401 - whatever is given
        if not isinstance(values, dict) or values.get("precision") != "auto":
            return values
        tiny = {values.get(model, TINY) for model in ("sam", "clip")} == {TINY}
        device = values.get("device", "auto")
        return {**values, "precision": "float32" if tiny else best_precision(device)}

    def with_absolute_paths(self) -> Self:
        """Return the same, meant the same from any folder."""
        weights = self.clip_pretrained
        if weights is not None and Path(weights).is_file():
            weights = str(Path(weights).absolute())
        checkpoint = self.sam_checkpoint and self.sam_checkpoint.absolute()
        return self.model_copy(update={"sam_checkpoint": checkpoint, "clip_pretrained": weights})

    def on_device(self, device: str | None) -> Self:
        """Return the same on another device; None leaves it."""
        return self if device is None else self.model_copy(update={"device": device})


@dataclass(frozen=True)
class PreparedImage:
    """An image resized for both models."""

    size: Size
    """(height, width), original pixels"""
    region_input: torch.Tensor
    image_input: torch.Tensor


@dataclass(frozen=True)
class Backbones:
    """The two frozen models."""

    region_encoder: RegionEncoder
    image_text_encoder: ImageTextEncoder

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """What decides the tokens of this pair."""
        return backbones_fingerprint(self.region_encoder, self.image_text_encoder)

    def prepare(self, image: RGBImage) -> PreparedImage:
        """Resize an image for both, on the CPU; safe to call from several threads."""
        return PreparedImage(
            image.shape[:2],
            self.region_encoder.prepare(image),
            self.image_text_encoder.prepare(image),
        )


def load_backbones(config: BackboneConfig) -> Backbones:
    """Load both models.

    Raises:
        InputError: A name, a device or a weight file is wrong.
    """
    runtime = Runtime.create(config.device, config.precision, compile=config.compile)
    return Backbones(
        load_region_encoder(
            config.sam,
            checkpoint=config.sam_checkpoint,
            input_size=config.sam_input,
            runtime=runtime,
        ),
        _load_clip(config, runtime),
    )


def load_clip(config: BackboneConfig) -> ImageTextEncoder:
    """Load CLIP alone, for work on texts.

    Raises:
        InputError: A name, a device or a weight file is wrong.
    """
    return _load_clip(config, Runtime.create(config.device, config.precision))


def _load_clip(config: BackboneConfig, runtime: Runtime) -> ImageTextEncoder:
    return load_image_text_encoder(
        config.clip,
        pretrained=config.clip_pretrained,
        input_size=config.clip_input,
        runtime=runtime,
    )
