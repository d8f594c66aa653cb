"""CLIP looks at the whole image, and a box is the mean of the patches inside it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from regionspot_core.backbones.patch_grid import patch_shares
from regionspot_core.backbones.protocols import ImageTextEncoder
from regionspot_core.errors import InputError
from regionspot_core.text.class_bank import ClassBank
from regionspot_evaluate.recognition.baselines.protocol import ShownRegions
from regionspot_evaluate.recognition.baselines.zero_shot import ZeroShot


class ClipPool:
    """Zero-shot CLIP on the mean of its patches' embeddings, each weighed by the box's part of it.

    Raises:
        InputError: If the encoder's patches have no embeddings.
    """

    def __init__(self, encoder: ImageTextEncoder, bank: ClassBank) -> None:
        if encoder.patch_grid is None or not encoder.embeds_patches:
            raise InputError(
                f"baseline clip-pool: CLIP {encoder.name} pools its patches by attention, so that "
                f"none of them has an embedding; name the others, such as --baseline clip-crop"
            )
        self._encoder = encoder
        self._grid = encoder.patch_grid
        self._zero_shot = ZeroShot(bank)

    def probabilities(self, shown: ShownRegions) -> NDArray[np.float32]:
        """Return (R, K) probabilities."""
        (patches_PD,) = self._encoder.patch_embeddings(shown.image_tokens).cpu()
        shares_RP = patch_shares(shown.boxes, shown.size, self._grid)
        pooled_RD = torch.from_numpy(shares_RP).float() @ patches_PD
        return self._zero_shot.probabilities(pooled_RD)
