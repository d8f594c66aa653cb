"""SAM, CLIP, a head and a vocabulary together: images and prompts in, classes and masks out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as rle_codec
from torch.nn.utils.rnn import pad_sequence

from regionspot_core.backbones.loading import Backbones, PreparedImage
from regionspot_core.backbones.protocols import ImageEmbeddings, ProposeConfig
from regionspot_core.errors import CheckpointError, FingerprintError
from regionspot_core.heads.checkpoint import load_head, read_record
from regionspot_core.heads.fusion import normalised_boxes
from regionspot_core.heads.head import Head
from regionspot_core.imaging.boxes import FloatArray, xywh_to_xyxy
from regionspot_core.imaging.prompts import BoxPrompts, Prompts
from regionspot_core.imaging.transforms import RGBImage, Size
from regionspot_core.region_tokens import chosen_count, chosen_tokens
from regionspot_core.support.fault_points import reach
from regionspot_core.text.class_bank import ClassBank


@dataclass(frozen=True)
class EncodedImage:
    """One image, encoded by both frozen models; any number of prompts may follow."""

    size: Size
    """(height, width), original pixels"""
    embedding: ImageEmbeddings
    """Slice of one image of what the region encoder's ``embed`` returned."""
    image_tokens: torch.Tensor
    """(1, T, C), CLIP's"""


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


@dataclass(frozen=True)
class Recognition:
    """Scores of one image's R regions over K classes."""

    logits: NDArray[np.float32]
    """(R, K)"""
    masks: list[dict[str, Any]]
    """R masks as COCO run-length encodings, original pixels."""
    boxes: FloatArray
    """(R, 4) xyxy, original pixels: the box prompts, or the boxes around the masks."""
    predicted_iou: NDArray[np.float32]
    """(R,) SAM's estimate of each mask's IoU."""

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """Return (R, K): softmax over the vocabulary."""
        return torch.from_numpy(self.logits).softmax(-1).numpy()


class Recognizer:
    """Classifier of image regions; the frozen models must be those the head was trained on.

    Raises:
        FingerprintError: If head, models and class embeddings are of different widths.
    """

    def __init__(
        self, backbones: Backbones, head: Head, bank: ClassBank, *, device: torch.device
    ) -> None:
        self.vocabulary = bank.vocabulary
        self._backbones = backbones
        self._head = head.to(device).eval()
        self._device = device
        self._classes_KD = torch.from_numpy(bank.embeddings).to(device)
        self._clip_scale = bank.logit_scale
        _require_widths(backbones, head, bank)

    @classmethod
    def load(
        cls, head: Path, backbones: Backbones, bank: ClassBank, *, device: torch.device
    ) -> Recognizer:
        """Return a recognizer with the head in a folder that `train fit` or `train import` wrote.

        Raises:
            CheckpointError: If there is no readable head.
            FingerprintError: If it was trained on other frozen models, or does not fit these.
        """
        record = read_record(head)
        record.require_fit(backbones.fingerprint, what=str(head))
        return cls(backbones, load_head(head), bank, device=device)

    def with_classes(self, bank: ClassBank) -> Recognizer:
        """Return a recognizer of another vocabulary with the same models and head.

        Images that either has encoded fit both.
        """
        return Recognizer(self._backbones, self._head, bank, device=self._device)

    def encode(self, images: Sequence[RGBImage]) -> list[EncodedImage]:
        """Run both frozen models over B images, uint8 (H, W, 3), RGB."""
        return self.encode_prepared([self._backbones.prepare(image) for image in images])

    @torch.inference_mode()
    def encode_prepared(self, images: Sequence[PreparedImage]) -> list[EncodedImage]:
        """Run both frozen models over B images that :meth:`Backbones.prepare` gave."""
        if not images:
            return []
        reach("recognise batch", len(images))
        sam, clip = self._backbones.region_encoder, self._backbones.image_text_encoder
        image_tokens = clip.image_tokens([image.image_input for image in images])
        embeddings = sam.embed([image.region_input for image in images])
        return [
            EncodedImage(image.size, embeddings[i : i + 1], image_tokens[i : i + 1])
            for i, image in enumerate(images)
        ]

    @torch.inference_mode()
    def segment(self, image: EncodedImage, prompts: Prompts) -> SegmentedRegions:
        """Segment the regions that the prompts point at, for any number of heads."""
        sam = self._backbones.region_encoder
        tokens = [torch.zeros((0, sam.token_count, sam.token_width), device=self._device)]
        ious = [torch.zeros(0, device=self._device)]
        masks: list[dict[str, Any]] = []
        for decoded in sam.segment(image.embedding, prompts, image.size):
            tokens.append(decoded.tokens.tokens_NMS)
            ious.append(decoded.tokens.iou_NQ[:, 0])
            masks += encode_masks(decoded.masks_NHW)
        if not masks:
            boxes: FloatArray = np.zeros((0, 4))
        else:
            boxes = prompts.boxes if isinstance(prompts, BoxPrompts) else _boxes_around(masks)
        return SegmentedRegions(
            torch.cat(tokens), masks, boxes, torch.cat(ious).float().cpu().numpy()
        )

    @torch.inference_mode()
    def segment_everything(self, image: EncodedImage, options: ProposeConfig) -> SegmentedRegions:
        """Segment the regions that SAM finds by itself; the masks are those it found.

        Heads have learnt from box prompts, so SAM decodes each region's tokens again from the box
        around its mask.
        """
        sam = self._backbones.region_encoder
        proposed = sam.propose(image.embedding, image.size, options)
        tokens = sam.decode(image.embedding, [proposed.boxes], [image.size]).tokens_NMS
        return SegmentedRegions(tokens, list(proposed.masks), proposed.boxes, proposed.scores)

    @torch.inference_mode()
    def classify(
        self, images: Sequence[EncodedImage], segmented: Sequence[SegmentedRegions]
    ) -> list[Recognition]:
        """Classify the regions of B images: those of one image together, as in training.

        Raises:
            CheckpointError: If a logit is not finite.
        """
        counts = [len(regions.masks) for regions in segmented]
        full = [b for b, count in enumerate(counts) if count]
        logits = [torch.zeros(0, len(self._classes_KD))] * len(images)
        if full:
            padded = self._logits([images[b] for b in full], [segmented[b] for b in full])
            for b, logits_RK in zip(full, padded.float().cpu(), strict=True):
                logits[b] = logits_RK[: counts[b]]
        if not all(torch.isfinite(each).all() for each in logits):
            raise CheckpointError("the head's logits are not finite; train it again")
        return [
            Recognition(each.numpy(), regions.masks, regions.boxes, regions.predicted_iou)
            for each, regions in zip(logits, segmented, strict=True)
        ]

    def _logits(
        self, images: Sequence[EncodedImage], segmented: Sequence[SegmentedRegions]
    ) -> torch.Tensor:
        """Return (B, R, K) of images with 1 to R regions each; rows are padded."""
        boxes_BR4 = pad_sequence(
            [torch.from_numpy(each.boxes).float() for each in segmented], batch_first=True
        )
        boxes = normalised_boxes(boxes_BR4, torch.tensor([image.size for image in images]))
        tokens_BRMS = pad_sequence([each.tokens_RMS for each in segmented], batch_first=True)
        counts = torch.tensor([len(each.masks) for each in segmented])
        real = torch.arange(tokens_BRMS.shape[1]) < counts[:, None]
        embedded = self._head(
            chosen_tokens(tokens_BRMS, self._head.config.region_tokens),
            torch.cat([image.image_tokens for image in images]),
            real.to(self._device),
            boxes.to(self._device),
        )
        return self._head.logits(embedded, self._classes_KD, self._clip_scale)

    def recognize(self, image: EncodedImage, prompts: Prompts) -> Recognition:
        """Segment and classify the regions that the prompts point at.

        They are classified together, as in training: the head lets the regions of one call attend
        to each other, so a region's probabilities depend a little on the other prompts.

        Raises:
            CheckpointError: If a logit is not finite.
        """
        return self.classify([image], [self.segment(image, prompts)])[0]


def encode_masks(masks_NHW: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """Return COCO's compressed run-length encodings, ``counts`` as text so that JSON takes them."""
    encoded = []
    for mask in masks_NHW:  # one at a time: each is copied, column by column
        (rle,) = rle_codec.encode(np.asfortranarray(mask[..., None].view(np.uint8)))
        encoded.append({"size": rle["size"], "counts": rle["counts"].decode("ascii")})
    return encoded


def _boxes_around(masks: list[dict[str, Any]]) -> FloatArray:
    return xywh_to_xyxy(rle_codec.toBbox(masks).reshape(-1, 4))


def _require_widths(backbones: Backbones, head: Head, bank: ClassBank) -> None:
    sam, clip, config = backbones.region_encoder, backbones.image_text_encoder, head.config
    token_count = chosen_count(config.region_tokens, sam.token_count, "all", of=f"SAM {sam.name}")
    widths = {
        f"SAM {sam.name}'s region tokens": (
            config.region_token_count * config.region_width,
            token_count * sam.token_width,
        ),
        f"CLIP {clip.name}'s image tokens": (config.image_width, clip.token_width),
        "class embeddings": (config.text_width, bank.embeddings.shape[1]),
    }
    for what, (expected, width) in widths.items():
        if expected != width:
            raise FingerprintError(
                f"the head takes {what} of width {expected}, these are {width} wide; give the "
                f"--sam and --clip that it was trained with"
            )
