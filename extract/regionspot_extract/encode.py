"""From pictures to a part's features."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from regionspot_core.backbones.loading import Backbones
from regionspot_core.cache.markers import FailedImage
from regionspot_core.cache.plan import Part, TokenShape
from regionspot_core.cache.writer import PartFeatures
from regionspot_core.datasets import AnnotationSet
from regionspot_core.errors import ImageError
from regionspot_core.prefetch import in_batches
from regionspot_extract.pictures import Picture


@dataclass(frozen=True)
class Features:
    """What the models say of B pictures with N regions in all, float16."""

    image_tokens: NDArray[np.float16]
    """(B, T, C)"""
    region_tokens: NDArray[np.float16]
    """(N, M, S)"""
    region_iou: NDArray[np.float16]
    """(N, M - 1)"""


class Encoder:
    """Both frozen models over batches of pictures, features out in float16."""

    def __init__(self, backbones: Backbones, annotations: AnnotationSet) -> None:
        self._backbones = backbones
        self._annotations = annotations

    @property
    def shape(self) -> TokenShape:
        """The shapes of the tokens that come out."""
        image, region = self._backbones.image_text_encoder, self._backbones.region_encoder
        return TokenShape(
            image_tokens=image.token_count,
            image_width=image.token_width,
            region_tokens=region.token_count,
            region_width=region.token_width,
        )

    def encode_part(
        self,
        part: Part,
        pictures: Iterable[Picture | FailedImage],
        *,
        batch_images: int,
        on_images: Callable[[int], None],
    ) -> PartFeatures:
        """All features of a part, from its pictures in order.

        Args:
            part: Which images.
            pictures: One for each of ``part.images``.
            batch_images: How many images the models take together.
            on_images: Called with how many more images are done, failed ones included.

        Raises:
            ImageError: A feature is not finite in float16; the image is named.
        """
        shape = self.shape
        image_tokens = np.zeros(
            (len(part.images), shape.image_tokens, shape.image_width), dtype=np.float16
        )
        region_tokens = np.zeros(
            (part.rows, shape.region_tokens, shape.region_width), dtype=np.float16
        )
        region_iou = np.zeros((part.rows, shape.region_tokens - 1), dtype=np.float16)
        first_region = int(self._annotations.region_start[part.image_start])
        failed: list[FailedImage] = []
        for batch in in_batches(pictures, batch_images):
            failed += [picture for picture in batch if isinstance(picture, FailedImage)]
            good = [picture for picture in batch if isinstance(picture, Picture)]
            if good:
                features = self.encode(good)
                image_tokens[[p.position - part.image_start for p in good]] = features.image_tokens
                rows = np.concatenate([self._rows(p.position) - first_region for p in good])
                region_tokens[rows] = features.region_tokens
                region_iou[rows] = features.region_iou
            on_images(len(batch))
        return PartFeatures(image_tokens, region_tokens, region_iou, tuple(failed))

    def encode(self, pictures: list[Picture]) -> Features:
        """The features of pictures, and of all their regions in order.

        Raises:
            ImageError: A feature is not finite in float16; the image is named.
        """
        clip, sam = self._backbones.image_text_encoder, self._backbones.region_encoder
        image_tokens = clip.image_tokens([p.image_input for p in pictures])
        regions = sam.decode(
            sam.embed([p.region_input for p in pictures]),
            [self._annotations.box[self._rows(p.position)] for p in pictures],
            [self._annotations.size(p.position) for p in pictures],
        )
        features = Features(
            _float16(image_tokens), _float16(regions.tokens_NMS), _float16(regions.iou_NQ)
        )
        self._require_finite(pictures, features)
        return features

    def _rows(self, position: int) -> NDArray[np.int64]:
        regions = self._annotations.regions(position)
        return np.arange(regions.start, regions.stop)

    def _require_finite(self, pictures: list[Picture], features: Features) -> None:
        good_image = np.isfinite(features.image_tokens).all(axis=(1, 2))
        good_region = np.isfinite(features.region_tokens).all(axis=(1, 2))
        if good_image.all() and good_region.all():
            return
        owner = np.repeat(np.arange(len(pictures)), [len(self._rows(p.position)) for p in pictures])
        bad = min({*np.flatnonzero(~good_image), *owner[~good_region]})
        name = self._annotations.image_file[pictures[bad].position]
        raise ImageError(
            f"{name}: the models' features are not finite in float16; the part was not written. "
            f"Try --precision float32, or leave the image out"
        )


def _float16(values: torch.Tensor) -> NDArray[np.float16]:
    return values.to(torch.float16).cpu().numpy()
