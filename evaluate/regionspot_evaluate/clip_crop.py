"""The baseline: CLIP looks at each box alone, cropped and squashed to its input."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from regionspot_core.backbones.protocols import ImageTextEncoder
from regionspot_core.boxes import FloatArray
from regionspot_core.class_bank import ClassBank
from regionspot_core.transforms import RGBImage

CROPS_AT_ONCE = 64


class ClipCrop:
    """Zero-shot CLIP on crops, with the same vocabulary and boxes as the head."""

    def __init__(self, encoder: ImageTextEncoder, bank: ClassBank) -> None:
        self._encoder = encoder
        self._classes_KD = torch.from_numpy(bank.embeddings)
        self._scale = bank.logit_scale

    def probabilities(self, image: RGBImage, boxes: FloatArray) -> NDArray[np.float32]:
        """(R, K): softmax of scaled cosines between each crop and each class.

        Args:
            image: uint8 (H, W, 3), RGB.
            boxes: (R, 4), xyxy in original pixels.
        """
        crops = [self._encoder.prepare(crop(image, box)) for box in boxes]
        logits = [np.zeros((0, len(self._classes_KD)), dtype=np.float32)]
        for start in range(0, len(crops), CROPS_AT_ONCE):
            embedded = self._encoder.image_embeddings(crops[start : start + CROPS_AT_ONCE]).cpu()
            logits.append((self._scale * embedded @ self._classes_KD.T).numpy())
        return torch.from_numpy(np.concatenate(logits)).softmax(-1).numpy()


def crop(image: RGBImage, box: FloatArray) -> RGBImage:
    """The pixels a box touches, at least one: (H', W', 3) of an image (H, W, 3)."""
    height, width = image.shape[:2]
    left = min(max(math.floor(box[0]), 0), width - 1)
    top = min(max(math.floor(box[1]), 0), height - 1)
    right = min(max(math.ceil(box[2]), left + 1), width)
    bottom = min(max(math.ceil(box[3]), top + 1), height)
    return image[top:bottom, left:right]
