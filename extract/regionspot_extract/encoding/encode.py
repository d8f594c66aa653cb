"""From pictures to a part's features, as they are stored."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from regionspot_core.backbones.crops import embed_regions
from regionspot_core.backbones.loading import Backbones
from regionspot_core.backbones.patch_grid import touched_patches
from regionspot_core.backbones.protocols import (
    EncodedTokens,
    ImageEmbeddings,
    RegionTokens,
)
from regionspot_core.cache.layout.encoded import encoded_tensors, zero_rows
from regionspot_core.cache.layout.keep import Keep, TokenShape
from regionspot_core.cache.layout.plan import CachePlan, Part
from regionspot_core.cache.layout.schema import FLIPPED, features, part_arrays
from regionspot_core.cache.storage.markers import FailedImage
from regionspot_core.cache.writer import StoredPart
from regionspot_core.datasets.record import AnnotationSet
from regionspot_core.errors import ImageError, InputError
from regionspot_core.imaging.transforms import RGBImage, Size
from regionspot_core.region_tokens import EMBEDDING_INPUTS
from regionspot_core.support.fault_points import reach
from regionspot_core.support.prefetch import in_batches
from regionspot_extract.encoding import stages
from regionspot_extract.encoding.fitting import Fit, is_out_of_memory
from regionspot_extract.encoding.pictures import Picture
from regionspot_extract.encoding.stages import Clock, no_clock
from regionspot_extract.encoding.transfer import DeviceTransfer, PendingTensors, Tensors
from regionspot_extract.encoding.views import mirrored_boxes, prompt_boxes

_FINITE = "finite: "
"""Begins the names of the tensors that say which rows of a feature are finite."""


def token_shape(backbones: Backbones, keep: Keep) -> TokenShape:
    """Return the shapes of what is kept of these models' tokens."""
    image, region = backbones.image_text_encoder, backbones.region_encoder
    only_paper = keep.sam_tokens == "paper"
    return TokenShape(
        image_tokens=image.token_count,
        image_width=image.token_width,
        region_tokens=1 if only_paper else region.token_count,
        region_width=region.token_width,
        ious=1 if only_paper else max(1, region.token_count - 1),
        region_embedding=0 if keep.region_embedding == "none" else image.text_width,
    )


def resolve_keep(keep: Keep, backbones: Backbones) -> Keep:
    """Return ``keep`` with ``auto`` resolved to the region embedding that this CLIP can make.

    Raises:
        InputError: If region tokens or masks are asked for, and a model has none.
    """
    encoder, sam = backbones.image_text_encoder, backbones.region_encoder
    if keep.region_masks and not sam.has_mask_grids:
        raise InputError(
            f"--region-masks: the region encoder {sam.name} has no masks; leave that out"
        )
    obstacle = encoder.region_obstacle
    if keep.region_embedding == "auto":
        return keep.model_copy(update={"region_embedding": "none" if obstacle else "tokens"})
    if EMBEDDING_INPUTS[keep.region_embedding].masks and not sam.has_mask_grids:
        raise InputError(
            f"--region-embedding {keep.region_embedding}: the region encoder {sam.name} has no "
            f"masks; take crop, tokens or none"
        )
    if keep.region_embedding == "tokens" and obstacle:
        raise InputError(
            f"--region-embedding tokens: CLIP {encoder.name} cannot embed regions, since "
            f"{obstacle}; take crop or none"
        )
    return keep


@dataclass(frozen=True)
class _Batch:
    """Pictures whose features are on their way to the host."""

    pictures: list[Picture]
    pending: PendingTensors


class Encoder:
    """Both frozen models over batches of pictures; features out, in the store's encoding."""

    def __init__(
        self,
        backbones: Backbones,
        annotations: AnnotationSet,
        plan: CachePlan,
        *,
        transfer: DeviceTransfer,
        clock: Clock = no_clock,
    ) -> None:
        self._backbones = backbones
        self._annotations = annotations
        self._plan = plan
        self._transfer = transfer
        self._clock = clock
        self._features = features(plan)
        self._arrays = part_arrays(plan)
        self._fit = Fit()
        self._turn = threading.Lock()

    def encode_part(
        self,
        part: Part,
        pictures: Iterable[Picture | FailedImage],
        *,
        batch_images: int,
        on_images: Callable[[int], None],
    ) -> StoredPart:
        """Encode a part from its pictures in order; one part at a time.

        Args:
            part: Which images.
            pictures: One for each of ``part.images``.
            batch_images: How many images the models take together, at most.
            on_images: Called with how many more images are done, failed ones included.

        Raises:
            ImageError: A feature is not finite in float16; the image is named.
            DeviceMemoryError: Not even one image fits in the device's memory.
        """
        reach("encode part", part.index)
        with self._turn:
            rows, failed = zero_rows(self._plan, part), []
            underway: _Batch | None = None
            for batch in in_batches(pictures, batch_images):
                failed += [picture for picture in batch if isinstance(picture, FailedImage)]
                good = [picture for picture in batch if isinstance(picture, Picture)]
                for begun in self.begin(good):
                    # The device has its next work before the host waits for the last one's.
                    if underway is not None:
                        self._place(underway, part, rows)
                    underway = begun
                on_images(len(batch))
            if underway is not None:
                self._place(underway, part, rows)
        return StoredPart(rows, tuple(failed))

    def begin(self, pictures: list[Picture]) -> Iterator[_Batch]:
        """Begin to compute the features of pictures, as many at once as memory holds.

        Raises:
            DeviceMemoryError: Not even one image fits.
        """
        if pictures:
            reach("encode batch", pictures[0].position)
        start = 0
        while start < len(pictures):
            some = pictures[start : start + self._fit.images]
            boxes = [self._boxes(picture) for picture in some]
            pending = self._try(some, boxes)
            if pending is None:
                self._fit.shrink(len(some), max(each[..., 0].size for each in boxes))
                continue
            self._fit.worked()
            start += len(some)
            yield _Batch(some, pending)

    def _try(
        self, pictures: list[Picture], boxes: list[NDArray[np.float32]]
    ) -> PendingTensors | None:
        """Begin to encode pictures; None where memory ran out, and all that was taken is freed."""
        try:
            arrays = self._encode(pictures, boxes)
            with self._clock(stages.TRANSFER):
                return self._transfer.to_host(self._stored(arrays))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return None

    def _encode(
        self, pictures: list[Picture], boxes: list[NDArray[np.float32]]
    ) -> dict[str, torch.Tensor]:
        """Compute every feature of the pictures and of all their regions, in order."""
        arrays = self._encode_view(pictures, 0, boxes)
        if self._plan.keep.flip:
            mirrored = [
                mirrored_boxes(each, self._annotations.size(picture.position)[1])
                for each, picture in zip(boxes, pictures, strict=True)
            ]
            view = self._encode_view(pictures, 1, mirrored)
            arrays |= {f"{FLIPPED}{name}": values for name, values in view.items()}
        if self._plan.keep.jitter:
            jittered = np.concatenate([each[:, 1:] for each in boxes])
            arrays["region/jittered/box"] = torch.from_numpy(jittered)
        return arrays

    def _encode_view(
        self, pictures: list[Picture], view: int, boxes: list[NDArray[np.float32]]
    ) -> Tensors:
        """Compute one view's features; ``boxes`` are (regions, 1 + copies, 4) in its pixels."""
        clip, sam = self._backbones.image_text_encoder, self._backbones.region_encoder
        with self._clock(stages.TRANSFER):
            image_inputs = self._transfer.to_device([p.views[view].image_input for p in pictures])
            region_inputs = self._transfer.to_device([p.views[view].region_input for p in pictures])
        flat = [each.reshape(-1, 4) for each in boxes]
        sizes = [self._annotations.size(p.position) for p in pictures]
        of_regions: Tensors = {}
        inputs = EMBEDDING_INPUTS[self._plan.keep.region_embedding]
        with self._clock(stages.CLIP):
            if inputs.image_pass:
                encoded = clip.encode(image_inputs)
                image_tokens = encoded.tokens_BTC
                of_regions["clip"] = self._embed_regions(encoded, flat, sizes).half()
            else:
                image_tokens = clip.image_tokens(image_inputs)
        with self._clock(stages.EMBED):
            embeddings = sam.embed(region_inputs)
        with self._clock(stages.DECODE):
            decoded = self._decode(embeddings, flat, sizes)
            of_regions |= self._chosen_tokens(decoded)
        if inputs.pixels:
            with self._clock(stages.CLIP):
                images = [picture.views[view].pixels for picture in pictures]
                masks = decoded.mask_grids if inputs.masks else None
                of_regions["clip"] = self._embed_crops(images, flat, masks).half()
        return {"clip/tokens": image_tokens.half(), **self._split_copies(of_regions)}

    def _embed_regions(
        self, encoded: EncodedTokens, boxes: list[NDArray[np.float32]], sizes: list[Size]
    ) -> torch.Tensor:
        clip, most = self._backbones.image_text_encoder, self._fit.regions
        assert clip.patch_grid is not None
        seen = [
            touched_patches(each, size, clip.patch_grid)
            for each, size in zip(boxes, sizes, strict=True)
        ]
        if max(map(len, seen)) <= most:
            return clip.region_embeddings(encoded, seen)
        pieces = [
            clip.region_embeddings(encoded[n : n + 1], [some])
            for n, each in enumerate(seen)
            for some in torch.split(each, most)
        ]
        return torch.cat(pieces)

    def _embed_crops(
        self,
        images: list[RGBImage | None],
        boxes: list[NDArray[np.float32]],
        masks: torch.Tensor | None,
    ) -> torch.Tensor:
        clip, counts = self._backbones.image_text_encoder, [len(each) for each in boxes]
        of_images = [None] * len(images) if masks is None else torch.split(masks, counts)
        embedded = [
            embed_regions(clip, image, each, some)
            for image, each, some in zip(images, boxes, of_images, strict=True)
            if image is not None
        ]
        return torch.cat(embedded)

    def _decode(
        self, embeddings: ImageEmbeddings, boxes: list[NDArray[np.float32]], sizes: list[Size]
    ) -> RegionTokens:
        sam, most = self._backbones.region_encoder, self._fit.regions
        keep = self._plan.keep
        masks = keep.region_masks or EMBEDDING_INPUTS[keep.region_embedding].masks
        # An encoder of a user's, which has no masks, need not know of them.
        decode = partial(sam.decode, masks=True) if masks else sam.decode
        if max(map(len, boxes)) <= most:
            return decode(embeddings, boxes, sizes)
        pieces = [
            decode(embeddings[n : n + 1], [each[first : first + most]], [size])
            for n, (each, size) in enumerate(zip(boxes, sizes, strict=True))
            for first in range(0, len(each), most)
        ]
        return RegionTokens(
            torch.cat([piece.tokens_NMS for piece in pieces]),
            torch.cat([piece.iou_NQ for piece in pieces]),
            torch.cat([p.mask_grids for p in pieces if p.mask_grids is not None])
            if masks
            else None,
        )

    def _chosen_tokens(self, regions: RegionTokens) -> Tensors:
        """Return what is kept of SAM's tokens of all regions."""
        tokens, iou = regions.tokens_NMS.half(), regions.iou_NQ.half()
        if self._plan.keep.sam_tokens == "paper":
            paper = self._backbones.region_encoder.paper_token
            tokens, iou = tokens[:, [paper]], iou[:, [max(0, paper - 1)]]
        if regions.mask_grids is None or not self._plan.keep.region_masks:
            return {"tokens": tokens, "iou": iou}
        mask = (255 * regions.mask_grids).round().to(torch.uint8)
        return {"tokens": tokens, "iou": iou, "mask": mask}

    def _split_copies(self, of_regions: Tensors) -> Tensors:
        """Split rows into those of the boxes themselves and those of their jittered copies."""
        copies = self._plan.keep.jitter
        arrays = {}
        for name, values in of_regions.items():
            rows = values.reshape(len(values) // (1 + copies), 1 + copies, *values.shape[1:])
            arrays[f"region/{name}"] = rows[:, 0]
            if copies:
                arrays[f"region/jittered/{name}"] = rows[:, 1:]
        return arrays

    def _stored(self, arrays: Tensors) -> Tensors:
        """Encode features as the store has them, and tell which of their rows are finite."""
        finite = {
            f"{_FINITE}{name}": values.isfinite().flatten(1).all(1)
            for name, values in arrays.items()
        }
        return finite | encoded_tensors(self._plan, arrays)

    def _place(self, batch: _Batch, part: Part, rows: dict[str, NDArray[Any]]) -> None:
        """Put a batch's features where they belong among the part's rows."""
        arrived = batch.pending.wait()
        with self._clock(stages.TRANSFER):
            arrays = {name: values.numpy() for name, values in arrived.items()}
            self._require_finite(batch.pictures, arrays)
            first_region = int(self._annotations.region_start[part.image_start])
            images = np.array([p.position - part.image_start for p in batch.pictures])
            regions = np.concatenate([self._regions(p.position) for p in batch.pictures])
            for name, array in self._arrays.items():
                place = regions - first_region if array.of_regions else images
                rows[name][place] = arrays[name]

    def _boxes(self, picture: Picture) -> NDArray[np.float32]:
        return prompt_boxes(self._annotations, picture.position, self._plan.keep.jitter)

    def _regions(self, position: int) -> NDArray[np.int64]:
        regions = self._annotations.regions(position)
        return np.arange(regions.start, regions.stop)

    def _require_finite(self, pictures: list[Picture], arrays: dict[str, NDArray[Any]]) -> None:
        counts = [len(self._regions(picture.position)) for picture in pictures]
        owner = np.repeat(np.arange(len(pictures)), counts)
        for name, feature in self._features.items():
            rows = np.flatnonzero(~arrays[f"{_FINITE}{name}"])
            if len(rows):
                picture = owner[rows[0]] if feature.of_regions else rows[0]
                file = self._annotations.image_file[pictures[picture].position]
                raise ImageError(
                    f"{file}: the models' features ({name}) are not finite in float16; the part "
                    f"was not written. Try --precision float32, or leave the image out"
                )
