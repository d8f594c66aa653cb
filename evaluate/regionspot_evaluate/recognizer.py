"""SAM, CLIP, a head and a vocabulary together: boxes in, classes and masks out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as rle_codec

from regionspot_core.backbones.loading import Backbones
from regionspot_core.boxes import FloatArray
from regionspot_core.class_bank import ClassBank
from regionspot_core.fusion import PAPER_TOKEN, FusionHead
from regionspot_core.transforms import RGBImage, Size


@dataclass(frozen=True)
class Recognition:
    """What is said of one image's R regions over K classes."""

    logits: NDArray[np.float32]
    """(R, K)"""
    masks: list[dict[str, Any]]
    """R masks as COCO run-length encodings, original pixels."""

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """(R, K): softmax over the vocabulary."""
        return torch.from_numpy(self.logits).softmax(-1).numpy()


class Recognizer:
    """Names regions of images. The frozen models must be those the head was trained on."""

    def __init__(
        self, backbones: Backbones, head: FusionHead, bank: ClassBank, *, device: torch.device
    ) -> None:
        self._backbones = backbones
        self._head = head.to(device).eval()
        self._classes_KD = torch.from_numpy(bank.embeddings).to(device)
        self._clip_scale = bank.logit_scale

    @torch.inference_mode()
    def recognize(
        self, images: Sequence[RGBImage], boxes: Sequence[FloatArray]
    ) -> list[Recognition]:
        """Name the boxes of B images.

        Args:
            images: uint8 (H, W, 3), RGB.
            boxes: For each image (R, 4), xyxy in original pixels; R may be 0.
        """
        sam, clip = self._backbones.region_encoder, self._backbones.image_text_encoder
        image_tokens = clip.image_tokens([clip.prepare(image) for image in images])
        embeddings = sam.embed([sam.prepare(image) for image in images])
        return [
            self._recognize_one(
                embeddings[i : i + 1], image_tokens[i : i + 1], boxes[i], images[i].shape[:2]
            )
            for i in range(len(images))
        ]

    def _recognize_one(
        self, embedding: torch.Tensor, image_tokens_1TC: torch.Tensor, boxes: FloatArray, size: Size
    ) -> Recognition:
        if not len(boxes):
            return Recognition(np.zeros((0, len(self._classes_KD)), dtype=np.float32), [])
        tokens: list[torch.Tensor] = []
        masks: list[dict[str, Any]] = []
        for segmented in self._backbones.region_encoder.segment(embedding, boxes, size):
            tokens.append(segmented.tokens.tokens_NMS[:, PAPER_TOKEN])
            masks += encode_masks(segmented.masks_NHW)
        embedded = self._head(torch.cat(tokens)[None], image_tokens_1TC)
        logits = self._head.logits(embedded, self._classes_KD, self._clip_scale)[0]
        return Recognition(logits.float().cpu().numpy(), masks)


def encode_masks(masks_NHW: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """COCO's compressed run-length encodings, ``counts`` as text so that JSON takes them."""
    encoded = rle_codec.encode(np.asfortranarray(masks_NHW.transpose(1, 2, 0).astype(np.uint8)))
    return [{"size": rle["size"], "counts": rle["counts"].decode("ascii")} for rle in encoded]
