"""Frozen models and heads, loaded once, and the pictures that are open in them."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch

from regionspot_app.config import MIB, AppConfig
from regionspot_app.pictures import ID_LENGTH, image_id_of
from regionspot_app.workbench.heads import HeadSource, embedded_for, head_sources, read_question
from regionspot_app.workbench.images import OpenImage, OpenImages
from regionspot_app.workbench.prompts import Prompt
from regionspot_app.workbench.texts import ClassTexts
from regionspot_core.backbones.loading import Backbones, load_backbones
from regionspot_core.backbones.protocols import CandidateMasks
from regionspot_core.backbones.registry import TINY
from regionspot_core.backbones.runtime import Runtime
from regionspot_core.datasets.vocabulary import Vocabulary
from regionspot_core.errors import InputError, RegionSpotError
from regionspot_core.fingerprint import Fingerprint
from regionspot_core.imaging.images import decode_image
from regionspot_core.imaging.prompts import BoxPrompts
from regionspot_core.imaging.transforms import RGBImage
from regionspot_core.region_tokens import EMBEDDING_INPUTS, EmbeddingSource
from regionspot_evaluate.recognition.attention_map import AttentionMap, NoAttentionError
from regionspot_evaluate.recognition.embed_boxes import embed_boxes
from regionspot_evaluate.recognition.image_regions import (
    Recognition,
    SegmentedRegions,
    encode_masks,
)
from regionspot_evaluate.recognition.recognizer import Recognizer
from regionspot_evaluate.scoring.overlaps import without_overlaps

MOST_VOCABULARIES = 8
"""Vocabularies whose embeddings are kept: words that somebody tries and goes back from."""


class Workbench:
    """Frozen models and one or two heads, to encode pictures, segment regions and name them.

    Not for several threads at once.

    Args:
        backbones: The frozen models.
        heads: The heads, of these models.
        vocabulary: The names that are asked about where a call gives none.
        config: Settings of the app.
    """

    def __init__(
        self,
        backbones: Backbones,
        heads: Sequence[HeadSource],
        vocabulary: Vocabulary,
        config: AppConfig,
    ) -> None:
        self.heads = tuple(heads)
        self._embed_regions = embedded_for(heads)
        self.images = OpenImages(config.cache_mib * MIB)
        self.names = vocabulary.names
        self._config = config
        self._backbones = backbones
        self._device = Runtime.create(config.backbones.device).device
        self._texts = ClassTexts(backbones.image_text_encoder)
        self._recognizers: OrderedDict[tuple[str, ...], tuple[Recognizer, ...]] = OrderedDict()
        self._recognizers_of(self.names)

    @classmethod
    def load(cls, config: AppConfig, *, backbones: Backbones | None = None) -> Workbench:
        """Load everything that the settings name.

        Args:
            config: Settings of the app.
            backbones: Loaded models to use instead of those ``config`` names.

        Raises:
            InputError: If a weight file or the vocabulary is wrong, or none is known.
            CheckpointError: If a head cannot be read.
            FingerprintError: If a head belongs to other models.
        """
        heads, vocabulary = read_question(config)
        return cls(backbones or load_backbones(config.backbones), heads, vocabulary, config)

    @property
    def is_tiny(self) -> bool:
        """Return whether a frozen model is the embedded one, which knows the demo's world alone."""
        return TINY in (self._config.backbones.sam, self._config.backbones.clip)

    @cached_property
    def offers_choices(self) -> bool:
        """Return whether SAM offers several masks of a prompt."""
        return isinstance(self._backbones.region_encoder, CandidateMasks)

    def open_file(self, content: bytes) -> tuple[str, OpenImage]:
        """Decode and encode a picture's file; return its id, a checksum of the file, and itself.

        A picture that is open already is not encoded again.

        Raises:
            ImageError: If it is no picture, or a larger one than the settings allow.
        """
        image_id = image_id_of(content)
        if image_id not in self.images:
            self.images.add(image_id, self.encode_file(content))
        return image_id, self.images.get(image_id)

    def encode_file(self, content: bytes) -> OpenImage:
        """Decode and encode a picture's file, without a place among those that are open.

        Raises:
            ImageError: If it is no picture, or a larger one than the settings allow.
        """
        recognizers = self._recognizers_of(self.names)
        fused_with_pixels = any(
            head.fusion is not None and head.fusion.entry.takes_pixels for head in self.heads
        )
        keep_pixels = fused_with_pixels or any(
            EMBEDDING_INPUTS[source].pixels for source in self._embed_regions
        )
        prepared = self._backbones.prepare(self._decoded(content), keep_pixels=keep_pixels)
        (encoded,) = recognizers[0].encode_prepared([prepared])
        return OpenImage(encoded, content)

    def _decoded(self, content: bytes) -> RGBImage:
        return decode_image(
            lambda: BytesIO(content), Path("picture"), max_pixels=self._config.max_pixels
        )

    def segment(self, image: OpenImage, prompts: Sequence[Prompt]) -> list[SegmentedRegions]:
        """Return one region for each prompt, from memory where it was segmented before.

        Raises:
            InputError: If a prompt is empty, outside the image, or of another size.
        """
        found: list[SegmentedRegions] = []
        for prompt in prompts:
            region = image.region(prompt.key)
            if region is None:
                region = self._segmented(image, prompt)
                image.keep(prompt.key, region)
            found.append(region)
        self.images.make_room()
        return found

    def _segmented(self, image: OpenImage, prompt: Prompt) -> SegmentedRegions:
        sam = self._recognizers_of(self.names)[0]
        given = prompt.for_image(image.size)
        if prompt.choice is None:
            return sam.segment(image.encoded, given)
        # Heads have learnt from boxes: the region is the box around the mask that is meant.
        mask, iou, box = self.candidates(image, prompt)[prompt.choice]
        region = sam.segment(image.encoded, BoxPrompts.create([box], image.size))
        return _with_mask(region, mask, iou)

    def candidates(
        self, image: OpenImage, prompt: Prompt
    ) -> list[tuple[dict[str, Any], float, list[float]]]:
        """Return SAM's masks of a prompt: each with its predicted IoU and the box around it.

        Masks are COCO run-length encodings and boxes xyxy, in original pixels. A mask without a
        pixel has the box of the whole image.

        Raises:
            InputError: If this SAM offers one mask only, or the prompt is wrong.
        """
        sam = self._backbones.region_encoder
        if not isinstance(sam, CandidateMasks):
            raise InputError(f"choice: SAM {sam.name} offers one mask of a prompt; leave it out")
        masks, ious = sam.candidate_masks(
            image.encoded.embedding, prompt.for_image(image.size), image.size
        )
        height, width = image.size
        boxes = [_box_around(mask) or [0.0, 0.0, float(width), float(height)] for mask in masks]
        return list(zip(encode_masks(masks), map(float, ious), boxes, strict=True))

    def everything(self, image: OpenImage) -> list[tuple[Prompt, SegmentedRegions]]:
        """Return the regions that SAM finds by itself, each with the box that asks for it again."""
        sam = self._recognizers_of(self.names)[0]
        found = sam.segment_everything(image.encoded, self._config.propose)
        distinct = without_overlaps(found, self._config.overlap)
        result: list[tuple[Prompt, SegmentedRegions]] = []
        for r, box in enumerate(distinct.boxes.tolist()):
            prompt = Prompt(box=tuple(box))
            region = _one_of(distinct, r)
            image.keep(prompt.key, region)
            result.append((prompt, region))
        self.images.make_room()
        return result

    def classify(
        self, image: OpenImage, regions: Sequence[SegmentedRegions], names: Sequence[str] | None
    ) -> list[Recognition]:
        """Return what each head calls R regions of one image, which see each other.

        Args:
            image: The image.
            regions: R regions, as :meth:`segment` returned them.
            names: K class names; None for the app's own.

        Raises:
            CheckpointError: If a logit is not finite.
            InputError: If the names are none, or two are the same.
        """
        recognizers = self._recognizers_of(self.names if names is None else tuple(names))
        if not regions:
            empty = np.zeros((0, len(self.names if names is None else names)), np.float32)
            nothing = Recognition(empty, [], np.zeros((0, 4)), np.zeros(0, np.float32), empty)
            return [nothing] * len(recognizers)
        together = _joined(regions)
        return [each.classify([image.encoded], [together])[0] for each in recognizers]

    def attention(
        self, image: OpenImage, regions: Sequence[SegmentedRegions], region: int, layer: int | None
    ) -> list[AttentionMap | NoAttentionError]:
        """Return where each head attends to the image for one of R regions, which see each other.

        Args:
            image: The image.
            regions: R regions, as :meth:`segment` returned them.
            region: Which of them, from 0 to R - 1.
            layer: Layer of the heads, from 0; None for the last of each.

        Raises:
            InputError: If a head has no such layer.
        """
        together = _joined(regions)
        found: list[AttentionMap | NoAttentionError] = []
        for each in self._recognizers_of(self.names):
            try:
                found.append(each.attention(image.encoded, together, region, layer))
            except NoAttentionError as error:
                found.append(error)
        return found

    @torch.inference_mode()
    def embedding(
        self, image: OpenImage, region: SegmentedRegions, source: EmbeddingSource
    ) -> torch.Tensor:
        """Return CLIP's own embedding (D,) of a region, float32 of length 1, on the CPU.

        Args:
            image: The image.
            region: The one region.
            source: How CLIP embeds it; where no head needs that, the picture is read once more.
        """
        found = region.embeddings.get(source)
        if found is None:
            clip, pixels = self._backbones.image_text_encoder, self._decoded(image.content)
            by_tokens = EMBEDDING_INPUTS[source].image_pass
            encoded = clip.encode([clip.prepare(pixels)]) if by_tokens else None
            whole = replace(image.encoded, encoded=encoded, pixels=pixels)
            found = embed_boxes(clip, whole, region.boxes, region.mask_grids, {source})[source]
        return found[0].float().cpu()

    @property
    def backbones_fingerprint(self) -> Fingerprint:
        """Return the record of the frozen models, as stores and heads have it."""
        return self._backbones.fingerprint

    def learn_names(self, names: Sequence[str], seconds: float | None = None) -> int:
        """Embed class names, so that the next question about them is answered at once.

        Args:
            names: K class names.
            seconds: Time after which no more are begun; None: all are embedded.

        Returns:
            The number of names that are left.

        Raises:
            InputError: If they are none, too many, too long, or two are the same.
        """
        left = 0 if seconds is None else self._texts.embed_some(names, seconds)
        if not left:
            self._recognizers_of(tuple(names))
        return left

    def question(self, names: Sequence[str] | None) -> str:
        """Return a text that differs where heads, their settings or the names do."""
        asked = [
            [[each.sum.xxh3, each.threshold, each.fusion and each.fusion.settings.line]
             for each in self.heads],
            list(self.names if names is None else names),
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:ID_LENGTH]

    def compare_with(self, folder: Path) -> None:
        """Have a head of the same models answer beside the first one, in place of any other.

        What is open stays open if it was encoded as the new head needs it.

        Raises:
            CheckpointError: If it cannot be read.
            FingerprintError: If it belongs to other models.
        """
        heads = head_sources((self.heads[0].folder, folder), self._config)
        wider = embedded_for(heads) - self._embed_regions
        before = self.heads, self._embed_regions
        self.heads, self._embed_regions = tuple(heads), self._embed_regions | wider
        self._recognizers.clear()
        try:
            self._recognizers_of(self.names)
        except RegionSpotError:
            self.heads, self._embed_regions = before
            raise
        if wider:
            self.images.clear()

    def _recognizers_of(self, names: tuple[str, ...]) -> tuple[Recognizer, ...]:
        """Return a recognizer for each head, with these names."""
        if names in self._recognizers:
            self._recognizers.move_to_end(names)
            return self._recognizers[names]
        bank = self._texts.bank(names)
        first = self._recognizers.get(self.names)
        if first is None:
            made = tuple(
                Recognizer.load(
                    head.folder,
                    self._backbones,
                    bank,
                    device=self._device,
                    embed_regions=self._embed_regions,
                    fusion=head.fusion,
                )
                for head in self.heads
            )
        else:
            made = tuple(each.with_classes(bank) for each in first)
        self._recognizers[names] = made
        if len(self._recognizers) > MOST_VOCABULARIES:
            oldest = next(each for each in self._recognizers if each != self.names)
            del self._recognizers[oldest]
        return made


def _one_of(regions: SegmentedRegions, r: int) -> SegmentedRegions:
    one = slice(r, r + 1)
    return SegmentedRegions(
        regions.tokens_RMS[one].clone(),  # else it keeps the memory of all
        regions.masks[one],
        regions.boxes[one].copy(),
        regions.predicted_iou[one].copy(),
        {source: rows[one].clone() for source, rows in regions.embeddings.items()},
        None if regions.mask_grids is None else regions.mask_grids[one].clone(),
    )


def _joined(regions: Sequence[SegmentedRegions]) -> SegmentedRegions:
    grids = [each.mask_grids for each in regions if each.mask_grids is not None]
    return SegmentedRegions(
        torch.cat([each.tokens_RMS for each in regions]),
        [mask for each in regions for mask in each.masks],
        np.concatenate([each.boxes for each in regions]),
        np.concatenate([each.predicted_iou for each in regions]),
        {
            source: torch.cat([each.embeddings[source] for each in regions])
            for source in regions[0].embeddings
        },
        torch.cat(grids) if grids else None,
    )


def _with_mask(region: SegmentedRegions, mask: dict[str, Any], iou: float) -> SegmentedRegions:
    return SegmentedRegions(
        region.tokens_RMS,
        [mask],
        region.boxes,
        np.array([iou], dtype=np.float32),
        region.embeddings,
        region.mask_grids,
    )


def _box_around(mask: np.ndarray) -> list[float] | None:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return [float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)]
