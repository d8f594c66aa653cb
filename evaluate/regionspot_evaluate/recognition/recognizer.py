"""SAM, CLIP, a head and a vocabulary together: images and prompts in, classes and masks out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.utils.rnn import pad_sequence

from regionspot_core.backbones.loading import Backbones, PreparedImage
from regionspot_core.backbones.protocols import ProposeConfig
from regionspot_core.errors import CheckpointError, FingerprintError, InputError
from regionspot_core.heads.cached import HeadInputs
from regionspot_core.heads.checkpoint import load_head, read_record
from regionspot_core.heads.fusion import normalised_boxes
from regionspot_core.heads.head import Head
from regionspot_core.imaging.boxes import FloatArray
from regionspot_core.imaging.prompts import Prompts
from regionspot_core.imaging.transforms import RGBImage
from regionspot_core.region_tokens import (
    EMBEDDING_INPUTS,
    EmbeddingSource,
    chosen_count,
    chosen_tokens,
)
from regionspot_core.support.fault_points import reach
from regionspot_core.text.class_bank import ClassBank
from regionspot_evaluate.recognition.attention_map import AttentionMap, NoAttentionError
from regionspot_evaluate.recognition.baselines.names import BaselineName
from regionspot_evaluate.recognition.embed_boxes import embed_boxes
from regionspot_evaluate.recognition.head_fusion import HeadFusion
from regionspot_evaluate.recognition.image_regions import (
    EncodedImage,
    Recognition,
    SegmentedRegions,
    encode_masks,
    prompted_boxes,
    show,
)


class Recognizer:
    """Classifier of image regions; the frozen models must be those the head was trained on.

    Raises:
        FingerprintError: If head, models and class embeddings are of different widths.
    """

    def __init__(
        self,
        backbones: Backbones,
        head: Head,
        bank: ClassBank,
        *,
        device: torch.device,
        embed_regions: Collection[EmbeddingSource] = (),
        fusion: HeadFusion | None = None,
    ) -> None:
        """Take loaded models and a head.

        Args:
            backbones: The frozen models.
            head: The head.
            bank: The vocabulary.
            device: Device of the head.
            embed_regions: How CLIP embeds regions beside what this head takes: for others.
            fusion: How the head's scores are joined with CLIP's; None: they are not.
        """
        self.fusion = fusion
        self.vocabulary = bank.vocabulary
        self._backbones = backbones
        self._head = head.to(device).eval()
        self._device = device
        self._classes_KD = torch.from_numpy(bank.embeddings).to(device)
        self._clip_scale = bank.logit_scale
        own = head.config.region_embeddings
        self._embed_regions = {*embed_regions} | ({own} if own else set())
        if fusion is not None:
            self._opinion = fusion.entry.create(backbones.image_text_encoder, bank)
            self._weights_K = fusion.weights(bank.vocabulary.names)
            if fusion.entry.region_embeddings is not None:
                self._embed_regions.add(fusion.entry.region_embeddings)
        _require_widths(backbones, head, bank)
        needs = [EMBEDDING_INPUTS[source] for source in self._embed_regions]
        self._encodes_blocks = any(each.image_pass for each in needs)
        fused_with_pixels = fusion is not None and fusion.entry.takes_pixels
        self._keeps_pixels = fused_with_pixels or any(each.pixels for each in needs)
        if self._encodes_blocks:
            _require_region_tokens(backbones)
        if head.config.needs.region_masks:
            _require_masks(backbones, "the head takes masks of regions")
        if any(each.masks for each in needs):
            _require_masks(backbones, "crops of regions are masked (masked-crop)")

    @classmethod
    def load(
        cls,
        head: Path,
        backbones: Backbones,
        bank: ClassBank,
        *,
        device: torch.device,
        embed_regions: Collection[EmbeddingSource] = (),
        fusion: HeadFusion | None = None,
    ) -> Recognizer:
        """Return a recognizer with the head in a folder that `train fit` or `train import` wrote.

        The other arguments are :meth:`__init__`'s.

        Raises:
            CheckpointError: If there is no readable head.
            FingerprintError: If it was trained on other frozen models, or does not fit these.
        """
        record = read_record(head)
        record.require_fit(backbones.fingerprint, what=str(head))
        return cls(
            backbones,
            load_head(head),
            bank,
            device=device,
            embed_regions=embed_regions,
            fusion=fusion,
        )

    def with_classes(self, bank: ClassBank) -> Recognizer:
        """Return a recognizer of another vocabulary with the same models and head.

        Images that either has encoded fit both.
        """
        return Recognizer(
            self._backbones,
            self._head,
            bank,
            device=self._device,
            embed_regions=self._embed_regions,
            fusion=self.fusion,
        )

    def encode(self, images: Sequence[RGBImage]) -> list[EncodedImage]:
        """Run both frozen models over B images, uint8 (H, W, 3), RGB."""
        return self.encode_prepared([self.prepare(image) for image in images])

    def prepare(self, image: RGBImage) -> PreparedImage:
        """Resize an image for both models, on the CPU; safe to call from several threads."""
        return self._backbones.prepare(image, keep_pixels=self._keeps_pixels)

    @torch.inference_mode()
    def encode_prepared(self, images: Sequence[PreparedImage]) -> list[EncodedImage]:
        """Run both frozen models over B images that :meth:`prepare` gave."""
        if not images:
            return []
        reach("recognise batch", len(images))
        sam, clip = self._backbones.region_encoder, self._backbones.image_text_encoder
        inputs = [image.image_input for image in images]
        encoded = clip.encode(inputs) if self._encodes_blocks else None
        image_tokens = clip.image_tokens(inputs) if encoded is None else encoded.tokens_BTC
        embeddings = sam.embed([image.region_input for image in images])
        alone = [slice(i, i + 1) for i in range(len(images))]
        return [
            EncodedImage(
                image.size,
                embeddings[one],
                image_tokens[one],
                None if encoded is None else encoded[one],
                image.pixels,
            )
            for one, image in zip(alone, images, strict=True)
        ]

    @torch.inference_mode()
    def segment(self, image: EncodedImage, prompts: Prompts) -> SegmentedRegions:
        """Segment the regions that the prompts point at, for any number of heads."""
        sam = self._backbones.region_encoder
        tokens = [torch.zeros((0, sam.token_count, sam.token_width), device=self._device)]
        ious = [torch.zeros(0, device=self._device)]
        masks: list[dict[str, Any]] = []
        grids: list[torch.Tensor] = []
        for decoded in sam.segment(image.embedding, prompts, image.size):
            tokens.append(decoded.tokens.tokens_NMS)
            ious.append(decoded.tokens.iou_NQ[:, 0])
            some = encode_masks(decoded.masks_NHW)
            if decoded.mask_logits is not None:
                own = prompted_boxes(prompts[len(masks) : len(masks) + len(some)], some)
                grids.append(sam.mask_grids(decoded.mask_logits, own, image.size))
            masks += some
        boxes = prompted_boxes(prompts, masks)
        mask_grids = torch.cat(grids) if grids else None
        return SegmentedRegions(
            torch.cat(tokens),
            masks,
            boxes,
            torch.cat(ious).float().cpu().numpy(),
            self._embedded(image, boxes, mask_grids),
            mask_grids,
        )

    @torch.inference_mode()
    def segment_everything(self, image: EncodedImage, options: ProposeConfig) -> SegmentedRegions:
        """Segment the regions that SAM finds by itself; the masks are those it found.

        Heads have learnt from box prompts, so SAM decodes each region's tokens again from the box
        around its mask.
        """
        sam = self._backbones.region_encoder
        proposed = sam.propose(image.embedding, image.size, options)
        decode = partial(sam.decode, masks=True) if sam.has_mask_grids else sam.decode
        decoded = decode(image.embedding, [proposed.boxes], [image.size])
        return SegmentedRegions(
            decoded.tokens_NMS,
            list(proposed.masks),
            proposed.boxes,
            proposed.scores,
            self._embedded(image, proposed.boxes, decoded.mask_grids),
            decoded.mask_grids,
        )

    def _embedded(
        self, image: EncodedImage, boxes: FloatArray, mask_grids: torch.Tensor | None
    ) -> dict[EmbeddingSource, torch.Tensor]:
        """Return CLIP's own embeddings (R, D) of boxes, by each way that is asked for."""
        clip = self._backbones.image_text_encoder
        found = embed_boxes(clip, image, boxes, mask_grids, self._embed_regions)
        return {source: embedded.to(self._device) for source, embedded in found.items()}

    @torch.inference_mode()
    def classify(
        self,
        images: Sequence[EncodedImage],
        segmented: Sequence[SegmentedRegions],
        opinions: Mapping[BaselineName, Sequence[NDArray[np.float32]]] | None = None,
    ) -> list[Recognition]:
        """Classify the regions of B images: those of one image together, as in training.

        Args:
            images: The images.
            segmented: B images' regions.
            opinions: Each baseline's (R, K) probabilities of the B images' regions, where they are
                known already; None: where the head's scores are joined with CLIP's, CLIP is asked.

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
        own = [each.numpy() for each in logits]
        if self.fusion is not None:
            logits = self._fused(self.fusion, logits, images, segmented, opinions)
        return [
            Recognition(each.numpy(), regions.masks, regions.boxes, regions.predicted_iou, alone)
            for each, regions, alone in zip(logits, segmented, own, strict=True)
        ]

    @torch.inference_mode()
    def attention(
        self, image: EncodedImage, segmented: SegmentedRegions, region: int, layer: int | None
    ) -> AttentionMap:
        """Return where one of an image's R regions attends to the image, beside the others.

        Args:
            image: The image.
            segmented: Its regions, all that are classified together.
            region: Which of them, from 0 to R - 1.
            layer: Layer of the head, from 0; None for the last.

        Raises:
            NoAttentionError: If the head, or this CLIP, has nothing to show.
            InputError: If the head has no such layer.
        """
        layers, grid = self._head.attention_layers, self._backbones.image_text_encoder.patch_grid
        if not layers:
            raise NoAttentionError(
                f"A head of the kind {self._head.config.kind_name} does not tell where it looks."
            )
        if grid is None:
            raise NoAttentionError("The tokens of this CLIP are not patches of the picture.")
        last = layers - 1
        if layer is not None and layer > last:
            raise InputError(f"layer: expected 0 to {last}, got {layer}")
        asked = last if layer is None else layer
        weights_BRT = self._head.image_attention(*self._inputs([image], [segmented]), layer=asked)
        return AttentionMap.of_tokens(
            weights_BRT[0, region], layer=asked, layers=layers, covered=grid.side * grid.share
        )

    def _fused(
        self,
        fusion: HeadFusion,
        logits: Sequence[torch.Tensor],
        images: Sequence[EncodedImage],
        segmented: Sequence[SegmentedRegions],
        opinions: Mapping[BaselineName, Sequence[NDArray[np.float32]]] | None,
    ) -> list[torch.Tensor]:
        """Return the (R, K) logits of B images, joined with CLIP's opinion."""
        if opinions is not None:
            shares = opinions[fusion.settings.opinion]
        else:
            _require_opinion(fusion, images, segmented)
            shares = [
                self._opinion.probabilities(show(image, regions, image.pixels))
                for image, regions in zip(images, segmented, strict=True)
            ]
        return [
            fusion.settings.fuse(own, torch.from_numpy(opinion), self._weights_K)
            for own, opinion in zip(logits, shares, strict=True)
        ]

    def _logits(
        self, images: Sequence[EncodedImage], segmented: Sequence[SegmentedRegions]
    ) -> torch.Tensor:
        """Return (B, R, K) of images with 1 to R regions each; rows are padded."""
        embedded = self._head(*self._inputs(images, segmented))
        return self._head.logits(embedded, self._classes_KD, self._clip_scale)

    def _inputs(
        self, images: Sequence[EncodedImage], segmented: Sequence[SegmentedRegions]
    ) -> HeadInputs:
        """Return the head's inputs of images with 1 to R regions each; rows are padded."""
        boxes_BR4 = pad_sequence(
            [torch.from_numpy(each.boxes).float() for each in segmented], batch_first=True
        )
        boxes = normalised_boxes(boxes_BR4, torch.tensor([image.size for image in images]))
        tokens_BRMS = pad_sequence([each.tokens_RMS for each in segmented], batch_first=True)
        counts = torch.tensor([len(each.masks) for each in segmented])
        real = torch.arange(tokens_BRMS.shape[1]) < counts[:, None]
        return HeadInputs(
            chosen_tokens(tokens_BRMS, self._head.config.region_tokens),
            torch.cat([image.image_tokens for image in images]),
            real.to(self._device),
            boxes.to(self._device),
            self._padded_embeddings(segmented),
            self._padded_masks(segmented),
        )

    def _padded_embeddings(self, segmented: Sequence[SegmentedRegions]) -> torch.Tensor | None:
        source = self._head.config.region_embeddings
        if source is None:
            return None
        if any(source not in each.embeddings for each in segmented):
            raise InputError(
                f"the head takes CLIP's embeddings of regions ({source}), and the images were "
                f"encoded by a recognizer without; give that one embed_regions={{{source!r}}}"
            )
        return pad_sequence([each.embeddings[source] for each in segmented], batch_first=True)

    def _padded_masks(self, segmented: Sequence[SegmentedRegions]) -> torch.Tensor | None:
        if not self._head.config.needs.region_masks:
            return None
        grids = [each.mask_grids for each in segmented if each.mask_grids is not None]
        # As a store has them, in a byte each.
        return pad_sequence(grids, batch_first=True).mul(255).round() / 255

    def recognize(self, image: EncodedImage, prompts: Prompts) -> Recognition:
        """Segment and classify the regions that the prompts point at.

        They are classified together, as in training: the head lets the regions of one call attend
        to each other, so a region's probabilities depend a little on the other prompts.

        Raises:
            CheckpointError: If a logit is not finite.
        """
        return self.classify([image], [self.segment(image, prompts)])[0]


def _require_opinion(
    fusion: HeadFusion, images: Sequence[EncodedImage], segmented: Sequence[SegmentedRegions]
) -> None:
    """Refuse images without what CLIP's opinion looks at."""
    entry = fusion.entry
    lacks_pixels = entry.takes_pixels and any(image.pixels is None for image in images)
    source = entry.region_embeddings
    if lacks_pixels or (source and any(source not in each.embeddings for each in segmented)):
        raise InputError(
            f"the head's scores are joined with {fusion.settings.opinion}, and the images were "
            f"encoded by a recognizer of another head; encode them by this one"
        )


def _require_region_tokens(backbones: Backbones) -> None:
    clip = backbones.image_text_encoder
    if clip.region_obstacle is not None:
        raise FingerprintError(
            f"CLIP {clip.name} cannot embed regions, since {clip.region_obstacle}; take another "
            f"CLIP, or a head without region embeddings"
        )


def _require_masks(backbones: Backbones, reason: str) -> None:
    sam = backbones.region_encoder
    if not sam.has_mask_grids:
        raise FingerprintError(
            f"{reason}, and the region encoder {sam.name} has none; give another --sam, or a head "
            f"or baseline without"
        )


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
