"""What passes between the models: an encoded image, its segmented regions, and their scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as rle_codec

from regionspot_core.backbones.protocols import EncodedTokens, ImageEmbeddings
from regionspot_core.heads.unknown_classes import known_scores
from regionspot_core.imaging.boxes import FloatArray, xywh_to_xyxy
from regionspot_core.imaging.prompts import BoxPrompts, Prompts
from regionspot_core.imaging.transforms import RGBImage, Size
from regionspot_core.region_tokens import EmbeddingSource
from regionspot_evaluate.recognition.baselines.protocol import ShownRegions


@dataclass(frozen=True)
class EncodedImage:
    """One image, encoded by both frozen models; any number of prompts may follow."""

    size: Size
    """(height, width), original pixels"""
    embedding: ImageEmbeddings
    """Slice of one image of what the region encoder's ``embed`` returned."""
    image_tokens: torch.Tensor
    """(1, T, C), CLIP's"""
    encoded: EncodedTokens | None = None
    """CLIP's slice of one image, to embed its regions by; None where nobody asks for that."""
    pixels: RGBImage | None = None
    """The image itself, to embed crops of; None where nobody asks for that."""


@dataclass(frozen=True)
class SegmentedRegions:
    """One image's R regions as SAM segments them; any number of heads may classify them."""

    tokens_RMS: torch.Tensor
    masks: list[dict[str, Any]]
    """R masks as COCO run-length encodings, original pixels."""
    boxes: FloatArray
    """(R, 4) xyxy, original pixels: the box prompts, or the boxes around the masks."""
    predicted_iou: NDArray[np.float32]
    """(R,) SAM's estimate of each mask's IoU."""
    embeddings: Mapping[EmbeddingSource, torch.Tensor] = field(default_factory=dict)
    """CLIP's own embeddings (R, D) of the boxes, length 1, by how they were made."""
    mask_grids: torch.Tensor | None = None
    """(R, 16, 16) in 0 … 1, SAM's masks inside the boxes; None of an encoder that has none."""


def show(
    image: EncodedImage, regions: SegmentedRegions, pixels: RGBImage | None = None
) -> ShownRegions:
    """Return an image's regions as zero-shot CLIP looks at them."""
    return ShownRegions(
        image.size, image.image_tokens, regions.boxes, regions.masks, regions.embeddings, pixels
    )


@dataclass(frozen=True)
class Recognition:
    """Scores of one image's R regions over K classes."""

    logits: NDArray[np.float32]
    """(R, K); where the head's scores are joined with CLIP's, the logarithms of the joint ones."""
    masks: list[dict[str, Any]]
    """R masks as COCO run-length encodings, original pixels."""
    boxes: FloatArray
    """(R, 4) xyxy, original pixels: the box prompts, or the boxes around the masks."""
    predicted_iou: NDArray[np.float32]
    """(R,) SAM's estimate of each mask's IoU."""
    own_logits: NDArray[np.float32]
    """(R, K) the head's own, before they are joined with CLIP's."""

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """Return (R, K): softmax over the vocabulary."""
        return torch.from_numpy(self.logits).softmax(-1).numpy()

    @property
    def known_scores(self) -> NDArray[np.float32]:
        """Return (R,): how surely each region is one of the names, by the head alone."""
        return known_scores(torch.from_numpy(self.own_logits)).numpy()


def encode_masks(masks_NHW: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """Return COCO's compressed run-length encodings, ``counts`` as text so that JSON takes them."""
    encoded = []
    for mask in masks_NHW:  # one at a time: each is copied, column by column
        (rle,) = rle_codec.encode(np.asfortranarray(mask[..., None].view(np.uint8)))
        encoded.append({"size": rle["size"], "counts": rle["counts"].decode("ascii")})
    return encoded


def prompted_boxes(prompts: Prompts, masks: list[dict[str, Any]]) -> FloatArray:
    """Return the boxes (N, 4) of N prompts: themselves, or the boxes around their masks.

    Args:
        prompts: N prompts.
        masks: SAM's N masks of them as COCO run-length encodings.
    """
    if isinstance(prompts, BoxPrompts):
        return prompts.boxes
    return xywh_to_xyxy(rle_codec.toBbox(masks).reshape(-1, 4)) if masks else np.zeros((0, 4))
