"""CLIP looks at each region alone: its box's crop, all outside SAM's mask painted over.

The paint is CLIP's mean colour, which preprocessing takes to zero: to the tower the rest of the
crop is neither dark nor light, but the average of what it was trained on.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as rle_codec

from regionspot_core.backbones.crops import embed_crops, touched_pixels
from regionspot_core.backbones.protocols import ImageTextEncoder
from regionspot_core.imaging.boxes import FloatArray
from regionspot_core.imaging.transforms import RGBImage
from regionspot_core.text.class_bank import ClassBank
from regionspot_evaluate.recognition.baselines.protocol import ShownRegions
from regionspot_evaluate.recognition.baselines.zero_shot import ZeroShot


class ClipMaskedCrop:
    """Zero-shot CLIP on the pixels of a mask within a box."""

    def __init__(self, encoder: ImageTextEncoder, bank: ClassBank) -> None:
        self._encoder = encoder
        self._zero_shot = ZeroShot(bank)
        self._paint = np.array(encoder.mean_colour, dtype=np.uint8)

    def probabilities(self, shown: ShownRegions) -> NDArray[np.float32]:
        """Return (R, K) probabilities."""
        assert shown.pixels is not None  # its entry of the table takes them
        pixels = shown.pixels
        crops = (
            masked_crop(pixels, box, mask, self._paint)
            for box, mask in zip(shown.boxes, shown.masks, strict=True)
        )
        return self._zero_shot.probabilities(embed_crops(self._encoder, crops))


def masked_crop(
    image: RGBImage, box: FloatArray, mask: dict[str, Any], paint: NDArray[np.uint8]
) -> RGBImage:
    """Return the pixels that a box touches, those outside the mask set to ``paint``.

    Args:
        image: uint8 (H, W, 3), RGB.
        box: (4,) xyxy, original pixels.
        mask: A run-length encoding of the image's size.
        paint: (3,), RGB.
    """
    touched = touched_pixels(box, image.shape[:2])
    inside = rle_codec.decode(mask)[touched].astype(bool)
    return np.where(inside[..., None], image[touched], paint)
