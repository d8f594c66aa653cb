"""What an evaluation asks of a baseline. Another one is a file that fulfils it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from regionspot_core.imaging.boxes import FloatArray
from regionspot_core.imaging.transforms import RGBImage, Size
from regionspot_core.region_tokens import EmbeddingSource


@dataclass(frozen=True)
class ShownRegions:
    """One image and its R regions, as the head sees them."""

    size: Size
    """(height, width) of the image, original pixels."""
    image_tokens: torch.Tensor
    """(1, T, C), CLIP's of the whole image."""
    boxes: FloatArray
    """(R, 4) xyxy, original pixels."""
    masks: Sequence[dict[str, Any]]
    """R of SAM's masks as COCO run-length encodings, original pixels."""
    embeddings: Mapping[EmbeddingSource, torch.Tensor] = field(default_factory=dict)
    """CLIP's own embeddings (R, D) of the regions, by how they were made, as baselines need."""
    pixels: RGBImage | None = None
    """uint8 (H, W, 3), RGB; None where no baseline that is asked takes pixels."""


class Baseline(Protocol):
    """Classifier of regions without a head."""

    def probabilities(self, shown: ShownRegions) -> NDArray[np.float32]:
        """Return (R, K): the probability of each class for each region."""
        ...
