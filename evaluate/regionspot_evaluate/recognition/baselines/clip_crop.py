"""CLIP looks at each box alone, cropped and squashed to its input."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from regionspot_core.backbones.crops import box_crops, embed_crops
from regionspot_core.backbones.protocols import ImageTextEncoder
from regionspot_core.text.class_bank import ClassBank
from regionspot_evaluate.recognition.baselines.protocol import ShownRegions
from regionspot_evaluate.recognition.baselines.zero_shot import ZeroShot


class ClipCrop:
    """Zero-shot CLIP on the pixels that a box touches."""

    def __init__(self, encoder: ImageTextEncoder, bank: ClassBank) -> None:
        self._encoder = encoder
        self._zero_shot = ZeroShot(bank)

    def probabilities(self, shown: ShownRegions) -> NDArray[np.float32]:
        """Return (R, K) probabilities."""
        assert shown.pixels is not None  # its entry of the table takes them
        crops = box_crops(shown.pixels, shown.boxes)
        return self._zero_shot.probabilities(embed_crops(self._encoder, crops))
