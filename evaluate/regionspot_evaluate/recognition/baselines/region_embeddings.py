"""CLIP's own embeddings of regions, as stores keep them: of their patches, or of their crops."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from regionspot_core.backbones.protocols import ImageTextEncoder
from regionspot_core.errors import InputError
from regionspot_core.region_tokens import EmbeddingSource
from regionspot_core.text.class_bank import ClassBank
from regionspot_evaluate.recognition.baselines.protocol import ShownRegions
from regionspot_evaluate.recognition.baselines.zero_shot import ZeroShot


class RegionEmbeddings:
    """Zero-shot CLIP on its own embedding of each region."""

    def __init__(self, source: EmbeddingSource, bank: ClassBank) -> None:
        self._source = source
        self._zero_shot = ZeroShot(bank)

    def probabilities(self, shown: ShownRegions) -> NDArray[np.float32]:
        """Return (R, K) probabilities."""
        return self._zero_shot.probabilities(shown.embeddings[self._source])


def of_patches(encoder: ImageTextEncoder, bank: ClassBank) -> RegionEmbeddings:
    """Return the baseline on class tokens that see a region's patches.

    Raises:
        InputError: If the encoder cannot embed regions so.
    """
    if encoder.region_obstacle is not None:
        raise InputError(
            f"baseline region-tokens: CLIP {encoder.name} cannot embed regions, since "
            f"{encoder.region_obstacle}; name the others, such as --baseline clip-crop"
        )
    return RegionEmbeddings("tokens", bank)


def of_crops(encoder: ImageTextEncoder, bank: ClassBank) -> RegionEmbeddings:
    """Return the baseline on crops with some surroundings."""
    return RegionEmbeddings("crop", bank)


def of_masked_crops(encoder: ImageTextEncoder, bank: ClassBank) -> RegionEmbeddings:
    """Return the baseline on the same crops, all outside SAM's masks painted over."""
    return RegionEmbeddings("masked-crop", bank)
