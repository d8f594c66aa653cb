"""SAM, CLIP, a head and a vocabulary together: images and prompts in, classes and masks out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as rle_codec

from regionspot_core.backbones.loading import Backbones
from regionspot_core.backbones.protocols import ProposeConfig
from regionspot_core.boxes import FloatArray, xywh_to_xyxy
from regionspot_core.checkpoint import load_head, read_record
from regionspot_core.class_bank import ClassBank
from regionspot_core.errors import CheckpointError, FingerprintError
from regionspot_core.fusion import FusionHead, normalised_boxes
from regionspot_core.prompts import BoxPrompts, Prompts
from regionspot_core.region_tokens import chosen_count, chosen_tokens
from regionspot_core.transforms import RGBImage, Size


@dataclass(frozen=True)
class EncodedImage:
    """One image as both frozen models see it; any number of prompts may follow."""

    size: Size
    """(height, width), original pixels"""
    embedding: torch.Tensor
    """(1, S, g, g), SAM's"""
    image_tokens: torch.Tensor
    """(1, T, C), CLIP's"""


@dataclass(frozen=True)
class Recognition:
    """What is said of one image's R regions over K classes."""

    logits: NDArray[np.float32]
    """(R, K)"""
    masks: list[dict[str, Any]]
    """R masks as COCO run-length encodings, original pixels."""
    boxes: FloatArray
    """(R, 4) xyxy, original pixels: the box prompts, or the boxes around the masks."""
    predicted_iou: NDArray[np.float32]
    """(R,) how sure SAM is of each mask."""

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """(R, K): softmax over the vocabulary."""
        return torch.from_numpy(self.logits).softmax(-1).numpy()


class Recognizer:
    """Names regions of images. The frozen models must be those the head was trained on.

    Raises:
        FingerprintError: Head, models and class embeddings are of different widths.
    """

    def __init__(
        self, backbones: Backbones, head: FusionHead, bank: ClassBank, *, device: torch.device
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
        """With the head in a folder that `train fit` or `train import` wrote.

        Raises:
            CheckpointError: There is no readable head.
            FingerprintError: It was trained on other frozen models, or does not fit these.
        """
        record = read_record(head)
        record.require_fit(backbones.fingerprint, what=str(head))
        return cls(backbones, load_head(head), bank, device=device)

    def with_classes(self, bank: ClassBank) -> Recognizer:
        """The same models and head with another vocabulary; encoded images fit both."""
        return Recognizer(self._backbones, self._head, bank, device=self._device)

    @torch.inference_mode()
    def encode(self, images: Sequence[RGBImage]) -> list[EncodedImage]:
        """Run both frozen models over B images, uint8 (H, W, 3), RGB."""
        if not images:
            return []
        sam, clip = self._backbones.region_encoder, self._backbones.image_text_encoder
        image_tokens = clip.image_tokens([clip.prepare(image) for image in images])
        embeddings = sam.embed([sam.prepare(image) for image in images])
        return [
            EncodedImage(image.shape[:2], embeddings[i : i + 1], image_tokens[i : i + 1])
            for i, image in enumerate(images)
        ]

    @torch.inference_mode()
    def recognize(self, image: EncodedImage, prompts: Prompts) -> Recognition:
        """Name and outline the regions that the prompts point at.

        They are looked at together, as in training: the head lets regions of one call attend to
        each other, so a region's probabilities depend a little on which others are asked for.

        Raises:
            CheckpointError: The head's answer is not finite.
        """
        tokens: list[torch.Tensor] = []
        ious: list[torch.Tensor] = []
        masks: list[dict[str, Any]] = []
        sam = self._backbones.region_encoder
        for segmented in sam.segment(image.embedding, prompts, image.size):
            tokens.append(
                chosen_tokens(segmented.tokens.tokens_NMS, self._head.config.region_tokens)
            )
            ious.append(segmented.tokens.iou_NQ[:, 0])
            masks += encode_masks(segmented.masks_NHW)
        if not tokens:
            nothing = np.zeros((0, len(self._classes_KD)), dtype=np.float32)
            return Recognition(nothing, [], np.zeros((0, 4)), nothing[:, 0])
        boxes = prompts.boxes if isinstance(prompts, BoxPrompts) else _boxes_around(masks)
        normalised = normalised_boxes(
            torch.from_numpy(boxes).float()[None], torch.tensor([image.size])
        )
        embedded = self._head(
            torch.cat(tokens)[None], image.image_tokens, boxes=normalised.to(self._device)
        )
        logits = self._head.logits(embedded, self._classes_KD, self._clip_scale)[0]
        if not torch.isfinite(logits).all():
            raise CheckpointError("the head's logits are not finite; train it again")
        return Recognition(
            logits=logits.float().cpu().numpy(),
            masks=masks,
            boxes=boxes,
            predicted_iou=torch.cat(ious).float().cpu().numpy(),
        )

    @torch.inference_mode()
    def recognize_everything(self, image: EncodedImage, options: ProposeConfig) -> Recognition:
        """Name the regions that SAM finds by itself, with the masks it found them by.

        The head has learnt from box prompts, so each region's token comes of its mask's box.
        """
        found = self._backbones.region_encoder.propose(image.embedding, image.size, options)
        named = self.recognize(image, BoxPrompts(found.boxes))
        return replace(named, masks=list(found.masks), predicted_iou=found.scores)


def encode_masks(masks_NHW: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """COCO's compressed run-length encodings, ``counts`` as text so that JSON takes them."""
    encoded = rle_codec.encode(np.asfortranarray(masks_NHW.transpose(1, 2, 0).astype(np.uint8)))
    return [{"size": rle["size"], "counts": rle["counts"].decode("ascii")} for rle in encoded]


def _boxes_around(masks: list[dict[str, Any]]) -> FloatArray:
    return xywh_to_xyxy(rle_codec.toBbox(masks).reshape(-1, 4))


def _require_widths(backbones: Backbones, head: FusionHead, bank: ClassBank) -> None:
    sam, clip, config = backbones.region_encoder, backbones.image_text_encoder, head.config
    seen = chosen_count(config.region_tokens, sam.token_count, "all", of=f"SAM {sam.name}")
    widths = {
        f"SAM {sam.name}'s region tokens": (
            config.region_token_count * config.region_width,
            seen * sam.token_width,
        ),
        f"CLIP {clip.name}'s image tokens": (config.image_width, clip.token_width),
        "class embeddings": (config.text_width, bank.embeddings.shape[1]),
    }
    for what, (expected, found) in widths.items():
        if expected != found:
            raise FingerprintError(
                f"the head takes {what} of width {expected}, these are {found} wide; give the "
                f"--sam and --clip that it was trained with"
            )
