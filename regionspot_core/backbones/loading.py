"""Both frozen models of a run, from one configuration."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from regionspot_core.backbones.config import BackboneConfig as BackboneConfig
from regionspot_core.backbones.protocols import (
    ImageTextEncoder,
    RegionEncoder,
    backbones_fingerprint,
)
from regionspot_core.backbones.registry import load_image_text_encoder, load_region_encoder
from regionspot_core.backbones.runtime import Runtime
from regionspot_core.errors import InputError
from regionspot_core.imaging.transforms import RGBImage, Size
from regionspot_core.region_tokens import PAPER_TOKEN


@dataclass(frozen=True)
class PreparedImage:
    """An image resized for both models."""

    size: Size
    """(height, width), original pixels"""
    region_input: torch.Tensor
    image_input: torch.Tensor
    pixels: RGBImage | None = None
    """The image itself, for crops of it; None where nobody needs them."""


@dataclass(frozen=True)
class Backbones:
    """The two frozen models."""

    region_encoder: RegionEncoder
    image_text_encoder: ImageTextEncoder

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """Record of everything that decides the tokens of this pair."""
        return backbones_fingerprint(self.region_encoder, self.image_text_encoder)

    def prepare(self, image: RGBImage, *, keep_pixels: bool = False) -> PreparedImage:
        """Resize an image for both, on the CPU; safe to call from several threads."""
        return PreparedImage(
            image.shape[:2],
            self.region_encoder.prepare(image),
            self.image_text_encoder.prepare(image),
            image if keep_pixels else None,
        )


def load_backbones(config: BackboneConfig) -> Backbones:
    """Load both models.

    Raises:
        InputError: A name, a device or a weight file is wrong.
    """
    runtime = Runtime.create(config.device, config.precision, compile=config.compile)
    region_encoder = load_region_encoder(
        config.sam,
        checkpoint=config.sam_checkpoint,
        input_size=config.sam_input,
        runtime=runtime,
    )
    expected = 0 if region_encoder.token_count == 1 else PAPER_TOKEN
    if region_encoder.paper_token != expected:
        raise InputError(
            f"--sam {config.sam}: expected paper_token = {expected} of "
            f"{region_encoder.token_count} tokens, got {region_encoder.paper_token}; let the "
            f"encoder give its tokens in that order"
        )
    return Backbones(region_encoder, _load_clip(config, runtime))


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
