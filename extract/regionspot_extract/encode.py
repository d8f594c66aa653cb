"""From pictures to a part's features."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from regionspot_core.backbones.loading import Backbones
from regionspot_core.backbones.protocols import RegionTokens
from regionspot_core.cache.markers import FailedImage
from regionspot_core.cache.plan import CachePlan, Keep, Part, TokenShape
from regionspot_core.cache.schema import FLIPPED, features
from regionspot_core.cache.writer import PartFeatures
from regionspot_core.datasets import AnnotationSet
from regionspot_core.errors import ImageError
from regionspot_core.prefetch import in_batches
from regionspot_core.region_tokens import PAPER_TOKEN
from regionspot_extract.pictures import Picture
from regionspot_extract.views import mirrored_boxes, prompt_boxes

Arrays = dict[str, NDArray[np.floating]]
"""Features by name, as :func:`regionspot_core.cache.schema.features` lists them."""


def token_shape(backbones: Backbones, keep: Keep) -> TokenShape:
    """The shapes of what is kept of these models' tokens."""
    image, region = backbones.image_text_encoder, backbones.region_encoder
    only_paper = keep.sam_tokens == "paper"
    return TokenShape(
        image_tokens=image.token_count,
        image_width=image.token_width,
        region_tokens=1 if only_paper else region.token_count,
        region_width=region.token_width,
        ious=1 if only_paper else region.token_count - 1,
    )


class Encoder:
    """Both frozen models over batches of pictures, features out in float16."""

    def __init__(self, backbones: Backbones, annotations: AnnotationSet, plan: CachePlan) -> None:
        self._backbones = backbones
        self._annotations = annotations
        self._plan = plan
        self._features = features(plan)

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
        arrays = {
            name: np.zeros(
                (part.rows if feature.of_regions else len(part.images), *feature.trailing),
                dtype=feature.dtype,
            )
            for name, feature in self._features.items()
        }
        first_region = int(self._annotations.region_start[part.image_start])
        failed: list[FailedImage] = []
        for batch in in_batches(pictures, batch_images):
            failed += [picture for picture in batch if isinstance(picture, FailedImage)]
            good = [picture for picture in batch if isinstance(picture, Picture)]
            if good:
                images = np.array([p.position - part.image_start for p in good])
                regions = np.concatenate([self._regions(p.position) - first_region for p in good])
                for name, values in self.encode(good).items():
                    arrays[name][regions if self._features[name].of_regions else images] = values
            on_images(len(batch))
        return PartFeatures(dict(arrays), tuple(failed))

    def encode(self, pictures: list[Picture]) -> Arrays:
        """The features of pictures, and of all their regions in order.

        Raises:
            ImageError: A feature is not finite in float16; the image is named.
        """
        copies = self._plan.keep.jitter
        boxes = [prompt_boxes(self._annotations, p.position, copies) for p in pictures]
        arrays = self._encode_view(pictures, 0, boxes)
        if self._plan.keep.flip:
            mirrored = [
                mirrored_boxes(each, self._annotations.size(picture.position)[1])
                for each, picture in zip(boxes, pictures, strict=True)
            ]
            view = self._encode_view(pictures, 1, mirrored)
            arrays |= {f"{FLIPPED}{name}": values for name, values in view.items()}
        if copies:
            arrays["region/jittered/box"] = np.concatenate([each[:, 1:] for each in boxes])
        self._require_finite(pictures, arrays)
        return arrays

    def _encode_view(
        self, pictures: list[Picture], view: int, boxes: list[NDArray[np.float32]]
    ) -> Arrays:
        """One view of pictures; ``boxes`` are (regions, 1 + copies, 4) in its pixels."""
        clip, sam = self._backbones.image_text_encoder, self._backbones.region_encoder
        image_tokens = clip.image_tokens([p.views[view].image_input for p in pictures])
        regions = sam.decode(
            sam.embed([p.views[view].region_input for p in pictures]),
            [each.reshape(-1, 4) for each in boxes],
            [self._annotations.size(p.position) for p in pictures],
        )
        return {"clip/tokens": _float16(image_tokens), **self._split_copies(regions)}

    def _split_copies(self, regions: RegionTokens) -> Arrays:
        """The tokens of the boxes themselves, and of their jittered copies."""
        tokens, iou = _float16(regions.tokens_NMS), _float16(regions.iou_NQ)
        if self._plan.keep.sam_tokens == "paper":
            tokens, iou = tokens[:, [PAPER_TOKEN]], iou[:, [PAPER_TOKEN - 1]]
        copies = self._plan.keep.jitter
        tokens = tokens.reshape(-1, 1 + copies, *tokens.shape[1:])
        iou = iou.reshape(-1, 1 + copies, *iou.shape[1:])
        arrays: Arrays = {"region/tokens": tokens[:, 0], "region/iou": iou[:, 0]}
        if copies:
            arrays["region/jittered/tokens"] = tokens[:, 1:]
            arrays["region/jittered/iou"] = iou[:, 1:]
        return arrays

    def _regions(self, position: int) -> NDArray[np.int64]:
        regions = self._annotations.regions(position)
        return np.arange(regions.start, regions.stop)

    def _require_finite(self, pictures: list[Picture], arrays: Arrays) -> None:
        counts = [len(self._regions(picture.position)) for picture in pictures]
        owner = np.repeat(np.arange(len(pictures)), counts)
        for name, values in arrays.items():
            rows = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))
            if len(rows):
                picture = owner[rows[0]] if self._features[name].of_regions else rows[0]
                file = self._annotations.image_file[pictures[picture].position]
                raise ImageError(
                    f"{file}: the models' features ({name}) are not finite in float16; the part "
                    f"was not written. Try --precision float32, or leave the image out"
                )


def _float16(values: torch.Tensor) -> NDArray[np.float16]:
    return values.to(torch.float16).cpu().numpy()
