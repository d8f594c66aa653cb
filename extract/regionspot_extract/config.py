"""What an extraction is asked to do."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from regionspot_core.backbones.loading import BackboneConfig
from regionspot_core.config import Config


class ExtractConfig(Config):
    """One extraction: images and annotations in, one store out."""

    images: Path
    annotations: Path
    out: Path
    bank: Path | None = None
    """Class embeddings that `regionspot extract text` wrote; None makes the paper's."""
    backbones: BackboneConfig = BackboneConfig()
    batch_images: int = Field(8, ge=1)
    """Images encoded together."""
    part_images: int = Field(256, ge=1)
    """Images of a part: what an interrupted run loses at most, and one shard file."""
    workers: int = Field(4, ge=1)
    """Threads that decode and resize."""
