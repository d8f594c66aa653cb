"""SAM as a region encoder: box prompts to the mask decoder's output tokens.

Built on the modules of the ``segment-anything`` package. The method's region token is the
decoder transformer's output for mask 0 (row 1; row 0 is the IoU token), so :meth:`decode` stops
there and makes no mask; :meth:`segment` goes on to the masks of the same token.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from regionspot_core.backbones.config import SAM_THRESHOLDS, Thresholds
from regionspot_core.backbones.protocols import (
    ProposeConfig,
    ProposedRegions,
    RegionTokens,
    SegmentedRegions,
)
from regionspot_core.backbones.registry import Entry
from regionspot_core.backbones.runtime import Runtime, hash_weights, masks_at_once
from regionspot_core.backbones.sam.decoder import TwoWayTransformer
from regionspot_core.backbones.sam.image_encoder import SamImageEncoder
from regionspot_core.backbones.sam.input import resize_sam_input
from regionspot_core.backbones.sam.prompts import SamPromptEncoder
from regionspot_core.backbones.sam.proposals import propose_regions
from regionspot_core.backbones.weights.official import or_fetch_again, sam_file
from regionspot_core.errors import InputError
from regionspot_core.imaging.boxes import FloatArray
from regionspot_core.imaging.prompts import Prompts
from regionspot_core.imaging.transforms import ResizeLongSide, RGBImage, Size
from regionspot_core.region_tokens import MASK_SIDE, PAPER_TOKEN
from regionspot_core.support.weight_files import load_strictly, read_state_dict

ARCHITECTURES = ("vit_b", "vit_l", "vit_h")
PIECES = ("image_encoder", "prompt_encoder", "mask_decoder")
"""First words of the names of SAM's weights."""
REGIONS_AT_ONCE = 32
"""Regions decoded together: the decoder makes an image embedding of each, 4 MiB apiece."""
CPU_REGIONS_AT_ONCE = 8
"""The same on a CPU, whose caches hold no more."""
FULL_SIZE_PIXELS = 16 * 1024**2
"""Pixels of masks enlarged together: 64 MiB of logits. Each is so large that taking
more of them together is no quicker."""


class SamEncoder:
    """A frozen ``segment_anything.modeling.Sam`` behind the region-encoder protocol."""

    token_order = "mask decoder output, IoU token then mask tokens"
    paper_token = PAPER_TOKEN

    has_mask_grids = True

    def __init__(
        self,
        model: Any,  # noqa: ANN401 - a segment_anything Sam; the package is untyped
        *,
        name: str,
        runtime: Runtime,
        weight_hash: str | None = None,
        thresholds: Thresholds = SAM_THRESHOLDS,
    ) -> None:
        """Take a loaded model.

        Args:
            model: With its weights.
            name: As the registry has it.
            runtime: Where it runs; the model is moved there.
            weight_hash: Of the weights as trained, where the model was given another input
                size since: interpolation need not be the same to the bit on every machine.
            thresholds: What :meth:`propose` keeps where it is not told.
        """
        self.name = name
        self._thresholds = thresholds
        self._runtime = runtime
        self._trained_hash = weight_hash
        self._model = model.eval().requires_grad_(False).to(runtime.device)
        self._image_encoder = runtime.kernels(SamImageEncoder(self._model.image_encoder))
        decoder = self._model.mask_decoder
        self._transformer = TwoWayTransformer(decoder.transformer)
        self._at_once = CPU_REGIONS_AT_ONCE if runtime.device.type == "cpu" else REGIONS_AT_ONCE
        self.token_count = 1 + int(decoder.num_mask_tokens)
        self.token_width = int(decoder.transformer_dim)
        self._resize = ResizeLongSide(int(self._model.image_encoder.img_size))
        self._prompts = SamPromptEncoder(self._model, self._resize, runtime.device)

    def fingerprint(self) -> dict[str, Any]:
        """Name, weight hash, and how an image reaches the model."""
        return {
            "name": self.name,
            "weights": self._weight_hash,
            "input": self._resize.side,
            "resize": "long side, bilinear, zero-padded",
        }

    @cached_property
    def _weight_hash(self) -> str:
        return self._trained_hash or hash_weights(self._model)

    def prepare(self, image: RGBImage) -> torch.Tensor:
        """Resize to the long side: uint8 (3, h, w), not padded."""
        return _channels_first(self._resize.image(image))

    @torch.inference_mode()
    def embed(self, images: Sequence[torch.Tensor]) -> torch.Tensor:
        """Normalise, pad to a square and encode: (B, S, g, g), g = side / patch size."""
        device = self._runtime.device
        batch = torch.stack([self._model.preprocess(image.to(device).float()) for image in images])
        with self._runtime.autocast():
            embedded = self._image_encoder(batch)
        return embedded.float()

    @torch.inference_mode()
    def decode(
        self,
        embeddings: torch.Tensor,
        boxes: Sequence[FloatArray],
        sizes: Sequence[Size],
        *,
        masks: bool = False,
    ) -> RegionTokens:
        """Return the tokens of all regions; regions of several images share a batch."""
        owner = np.repeat(np.arange(len(boxes)), [len(each) for each in boxes])
        scaled = torch.cat([self._prompts.scaled(b, s) for b, s in zip(boxes, sizes, strict=True)])
        sparse, dense = self._prompts.encode_boxes(scaled)
        images = _places(embeddings + dense)
        found, grids = [], [torch.zeros((0, MASK_SIDE, MASK_SIDE), device=self._runtime.device)]
        for start in range(0, len(owner), self._at_once):
            some = slice(start, start + self._at_once)
            counts = np.bincount(owner[some], minlength=len(boxes))
            tokens, places = self._transform(images, counts.tolist(), sparse[some])
            found.append(tokens)
            if masks:
                low_resolution = self._low_resolution_masks(tokens, places)
                grids.append(self._sampled(low_resolution, scaled[some]))
        sampled = torch.cat(grids) if masks else None
        if not found:
            shape = (0, self.token_count, self.token_width)
            empty = torch.zeros(shape, device=self._runtime.device)
            return RegionTokens(empty, empty[:, 1:, 0], sampled)
        tokens = torch.cat(found)
        return RegionTokens(tokens, self._predicted_iou(tokens), sampled)

    @torch.inference_mode()
    def mask_grids(self, mask_logits: torch.Tensor, boxes: FloatArray, size: Size) -> torch.Tensor:
        """Return (N, 16, 16) in 0 … 1, by bilinear sampling of low-resolution masks (N, 4g, 4g)."""
        return self._sampled(mask_logits, self._prompts.scaled(boxes, size))

    @torch.inference_mode()
    def segment(
        self, embedding: torch.Tensor, prompts: Prompts, size: Size
    ) -> Iterator[SegmentedRegions]:
        """Yield tokens and the masks of mask token 0, as many regions a time as memory allows."""
        at_once = masks_at_once(size, most=self._at_once)
        few = masks_at_once(size, most=at_once, pixels=FULL_SIZE_PIXELS)
        for start in range(0, len(prompts), at_once):
            some = prompts[start : start + at_once]
            sparse, dense = self._prompts.encode(some, size)
            images = _places(embedding + dense)  # one, or with mask prompts one for each region
            counts = [len(some) // len(images)] * len(images)
            tokens, places = self._transform(images, counts, sparse)
            low_resolution = self._low_resolution_masks(tokens, places)
            iou = self._predicted_iou(tokens)
            for first in range(0, len(some), few):
                at = slice(first, first + few)
                yield SegmentedRegions(
                    RegionTokens(tokens[at], iou[at]),
                    self._at_full_size(low_resolution[at, None], size),
                    low_resolution[at],
                )

    @torch.inference_mode()
    def candidate_masks(
        self, embedding: torch.Tensor, prompt: Prompts, size: Size
    ) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Return the masks (3, H, W) of mask tokens 1 to 3, and their predicted IoU (3,).

        These are what segment-anything's predictor returns with ``multimask_output``.
        """
        sparse, dense = self._prompts.encode(prompt, size)
        tokens, places = self._transform(_places(embedding + dense), [1], sparse)
        several = range(1, self.token_count - 1)
        low_resolution = [self._low_resolution_masks(tokens, places, mask=q) for q in several]
        masks = [self._at_full_size(each[:, None], size)[0] for each in low_resolution]
        return np.stack(masks), self._predicted_iou(tokens)[0, 1:].cpu().numpy()

    @torch.inference_mode()
    def propose(
        self, embedding: torch.Tensor, size: Size, options: ProposeConfig
    ) -> ProposedRegions:
        """Find regions with segment-anything's automatic mask generator, on a grid of points."""
        own = self._thresholds
        return propose_regions(
            self._model,
            self._resize,
            embedding,
            size,
            points_per_side=options.points_per_side,
            thresholds=Thresholds(
                own.iou if options.iou_threshold is None else options.iou_threshold,
                own.stability
                if options.stability_threshold is None
                else options.stability_threshold,
            ),
        )

    def _transform(
        self, images_BLS: torch.Tensor, counts: Sequence[int], sparse_NPS: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return output tokens (N, M, S) float32, and each region's image (N, L, S) afterwards."""
        decoder = self._model.mask_decoder
        own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
        tokens = torch.cat([own.expand(len(sparse_NPS), -1, -1), sparse_NPS], dim=1)
        with self._runtime.autocast():
            out, places = self._transformer(
                images_BLS, counts, _places(self._prompts.positions)[0], tokens
            )
        return out[:, : self.token_count].float(), places

    def _predicted_iou(self, tokens_NMS: torch.Tensor) -> torch.Tensor:
        iou: torch.Tensor = self._model.mask_decoder.iou_prediction_head(tokens_NMS[:, 0])
        return iou

    def _at_full_size(self, logits_N1gg: torch.Tensor, size: Size) -> NDArray[np.bool_]:
        """Return masks (N, H, W) in original pixels; the logits at that size are freed."""
        logits = self._model.postprocess_masks(logits_N1gg, self._resize.target_size(size), size)
        return np.asarray((logits[:, 0] > self._model.mask_threshold).cpu().numpy())

    def _low_resolution_masks(
        self, tokens_NMS: torch.Tensor, places_NLS: torch.Tensor, *, mask: int = 0
    ) -> torch.Tensor:
        """Return mask logits (N, 4g, 4g) of one of the mask tokens, by default the paper's."""
        decoder, side = self._model.mask_decoder, math.isqrt(places_NLS.shape[1])
        source_NSL = places_NLS.float().transpose(1, 2)
        upscaled = decoder.output_upscaling(source_NSL.reshape(*source_NSL.shape[:2], side, side))
        weights = decoder.output_hypernetworks_mlps[mask](tokens_NMS[:, 1 + mask])
        return torch.einsum("nc,nchw->nhw", weights, upscaled)

    def _sampled(self, logits_Ngg: torch.Tensor, scaled_N4: torch.Tensor) -> torch.Tensor:
        """Return probabilities (N, 16, 16) at cell centres of boxes in the model's input."""
        steps = (torch.arange(MASK_SIDE, device=logits_Ngg.device) + 0.5) / MASK_SIDE
        corner, far = scaled_N4.float()[:, :2], scaled_N4.float()[:, 2:]
        points = corner[:, None] + (far - corner)[:, None] * steps[:, None]  # (N, 16, 2): x, y
        places = 2 * points / self._resize.side - 1
        across = places[:, None, :, 0].expand(-1, MASK_SIDE, -1)
        down = places[:, :, None, 1].expand(-1, -1, MASK_SIDE)
        grid = torch.stack([across, down], dim=-1)
        shares = logits_Ngg.float().sigmoid()[:, None]
        return F.grid_sample(shares, grid, align_corners=False)[:, 0]


def load_sam(
    name: str, *, weights: str | None, input_size: int | None = None, runtime: Runtime
) -> SamEncoder:
    """Load Meta's SAM ``vit_b``, ``vit_l`` or ``vit_h`` from its official checkpoint file.

    Args:
        name: The architecture.
        weights: The file; None takes the one in torch.hub's folder.
        input_size: Side of the padded input in pixels; None is the pretraining one, 1024.
        runtime: Where it runs.

    Raises:
        InputError: No file is named and none lies there, or the input size is wrong.
        WeightsError: The file is missing, truncated or of another architecture.
    """
    from segment_anything import sam_model_registry

    path = _usual_file(name) if weights is None else Path(weights)
    with or_fetch_again(f"--sam {name}") if weights is None else nullcontext():
        state = read_state_dict(path, pieces=PIECES)
    model = sam_model_registry[name]()
    load_strictly(model, state, path=path, architecture=f"SAM {name}")
    trained = None
    if input_size is not None:
        trained = hash_weights(model)
        resize_sam_input(model, input_size, name=name)
    return SamEncoder(model, name=name, runtime=runtime, weight_hash=trained)


def _usual_file(name: str) -> Path:
    path = sam_file(name).path
    if not path.is_file():
        raise InputError(
            f"SAM {name} needs its weights and {path} is not there: run "
            f"`regionspot extract weights --sam {name}`, or give --sam-checkpoint FILE"
        )
    return path


def _places(grid_BSgg: torch.Tensor) -> torch.Tensor:
    """Flatten a grid to (B, L, S), L = g · g."""
    return grid_BSgg.flatten(2).transpose(1, 2)


def _channels_first(image: RGBImage) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


REGION_ENCODER = Entry(lambda: ARCHITECTURES, load_sam, examples=ARCHITECTURES, published=sam_file)
