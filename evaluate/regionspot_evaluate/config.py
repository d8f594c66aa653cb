"""What an evaluation is asked to do."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from regionspot_core.backbones.loading import BackboneConfig
from regionspot_core.config import Config

GROUND_TRUTH = "gt"


class EvaluateConfig(Config):
    """One evaluation of one head."""

    images: Path
    annotations: Path
    head: Path
    out: Path
    proposals: str = GROUND_TRUTH
    """``gt`` for the annotated boxes, or a COCO-results JSON file."""
    backbones: BackboneConfig = BackboneConfig()
    batch_images: int = Field(8, ge=1)
    workers: int = Field(4, ge=1)
    pairs: int = Field(900, ge=1)
    """Best (region, class) pairs of an image that are looked at: the paper's number."""
    detections: int = Field(300, ge=1)
    """How many of them an image keeps: LVIS's limit."""
    gallery: int = Field(12, ge=0)
    """Images drawn into ``predictions.png``; 0 draws none."""
