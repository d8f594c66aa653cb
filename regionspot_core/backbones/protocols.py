"""What the stages ask of a frozen model. Another backbone is one file that fulfils one of these.

Encoders return tensors on their own device, computed without gradients.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from regionspot_core.backbones.config import ProposeConfig as ProposeConfig
from regionspot_core.backbones.patch_grid import PatchGrid
from regionspot_core.imaging.boxes import FloatArray
from regionspot_core.imaging.prompts import Prompts
from regionspot_core.imaging.transforms import RGBImage, Size


@dataclass(frozen=True)
class RegionTokens:
    """Tokens of N regions."""

    tokens_NMS: torch.Tensor
    """(N, M, S). The paper's token is the encoder's row ``paper_token``."""
    iou_NQ: torch.Tensor
    """(N, Q): predicted IoU of the last Q = M - 1 tokens' masks; Q = 1 where M = 1."""
    mask_grids: torch.Tensor | None = None
    """(N, 16, 16) in 0 … 1: the paper's token's mask inside the region's box, as
    :meth:`RegionEncoder.mask_grids` says; None where it was not asked for."""


@dataclass(frozen=True)
class SegmentedRegions:
    """Region tokens together with the masks of the paper's token."""

    tokens: RegionTokens
    masks_NHW: NDArray[np.bool_]
    """(N, H, W), original image pixels."""
    mask_logits: torch.Tensor | None = None
    """Whatever :meth:`RegionEncoder.mask_grids` takes; None of an encoder that has no masks."""


@dataclass(frozen=True)
class ProposedRegions:
    """N regions that a region encoder found by itself."""

    boxes: NDArray[np.float32]
    """(N, 4) xyxy, original pixels"""
    scores: NDArray[np.float32]
    """(N,) predicted IoU, in [0, 1]"""
    masks: tuple[dict[str, Any], ...]
    """N masks as COCO run-length encodings, original pixels; the boxes are around them."""


ImageEmbeddings: TypeAlias = Any
"""Whatever a region encoder makes of B images. Nobody else looks into it: others take slices,
``embeddings[2:3]`` is the third image's, and hand these back to the encoder."""


class RegionEncoder(Protocol):
    """A model that turns box prompts into region tokens, and into masks where asked."""

    name: str
    token_order: str
    """Names of a region's tokens in their order, as fingerprints record them."""
    paper_token: int
    """Row of the token that the paper takes: 0 of a lone token, 1 of several."""
    token_count: int
    """M, tokens a region."""
    token_width: int
    """S, values a token."""
    has_mask_grids: bool
    """Whether :meth:`decode` gives masks where asked, and :meth:`mask_grids` works."""

    def fingerprint(self) -> dict[str, Any]:
        """Return everything that decides the tokens: architecture, weights, preprocessing."""
        ...

    def prepare(self, image: RGBImage) -> torch.Tensor:
        """Resize an image for the model, on the CPU; safe to call from several threads."""
        ...

    def embed(self, images: Sequence[torch.Tensor]) -> ImageEmbeddings:
        """Embed B prepared images."""
        ...

    def decode(
        self,
        embeddings: ImageEmbeddings,
        boxes: Sequence[FloatArray],
        sizes: Sequence[Size],
        *,
        masks: bool = False,
    ) -> RegionTokens:
        """Return the tokens of all regions of B embedded images, image after image.

        Args:
            embeddings: As :meth:`embed` returned them, B images.
            boxes: B arrays (R_b, 4), xyxy in original pixels; R_b may be 0.
            sizes: B original sizes (height, width).
            masks: Whether to return the regions' mask grids too.
        """
        ...

    def mask_grids(self, mask_logits: Any, boxes: FloatArray, size: Size) -> torch.Tensor:  # noqa: ANN401
        """Return (N, 16, 16) in 0 … 1: masks sampled at the centres of a box's 16 × 16 cells.

        Args:
            mask_logits: Of N regions of one image, as :meth:`segment` yielded them.
            boxes: (N, 4) xyxy, original pixels.
            size: Original (height, width).
        """
        ...

    def segment(
        self, embedding: ImageEmbeddings, prompts: Prompts, size: Size
    ) -> Iterator[SegmentedRegions]:
        """Yield tokens and masks of one image's regions, a few regions at a time.

        Args:
            embedding: A slice of :meth:`embed`'s result, of one image.
            prompts: What points at the R regions.
            size: Original (height, width).
        """
        ...

    def propose(
        self, embedding: ImageEmbeddings, size: Size, options: ProposeConfig
    ) -> ProposedRegions:
        """Find regions in one image without any prompt.

        Args:
            embedding: A slice of :meth:`embed`'s result, of one image.
            size: Original (height, width).
            options: How densely to look, and what to keep.
        """
        ...


@runtime_checkable
class CandidateMasks(Protocol):
    """A region encoder that can offer several masks of an ambiguous prompt, as SAM does."""

    def candidate_masks(
        self, embedding: ImageEmbeddings, prompt: Prompts, size: Size
    ) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Return the masks (Q, H, W) of one region, original pixels, and their predicted IoU (Q,).

        Args:
            embedding: A slice of :meth:`RegionEncoder.embed`'s result, of one image.
            prompt: What points at the one region.
            size: Original (height, width).
        """
        ...


class EncodedTokens(Protocol):
    """B images as an image-text encoder keeps them to embed their regions.

    Nobody else looks into it but for the tokens; ``encoded[2:3]`` is the third image's.
    """

    @property
    def tokens_BTC(self) -> torch.Tensor:
        """Return what :meth:`ImageTextEncoder.image_tokens` gives of the images."""
        ...

    def __getitem__(self, images: slice) -> EncodedTokens:
        """Return some of the images."""
        ...


class ImageTextEncoder(Protocol):
    """A model that turns images into tokens, and images and texts into vectors of one space."""

    name: str
    token_order: str
    """Names of an image's tokens in their order, as fingerprints record them."""
    token_count: int
    """T, tokens an image, CLS first where there is one."""
    token_width: int
    """C, values a token."""
    text_width: int
    """D, values of a text or image embedding."""
    logit_scale: float
    """``exp`` of the learned scale."""
    mean_colour: tuple[int, int, int]
    """RGB, 0 to 255: what preprocessing takes to zero."""
    patch_grid: PatchGrid | None
    """None where its tokens are not patches of a grid."""
    embeds_patches: bool
    """Whether a patch has an embedding: none has where the tower pools patches by attention."""
    region_obstacle: str | None
    """Why it cannot embed regions of an image that it encoded; None where it can."""

    def fingerprint(self) -> dict[str, Any]:
        """Return everything that decides tokens and embeddings: model, weights, preprocessing."""
        ...

    def prepare(self, image: RGBImage) -> torch.Tensor:
        """Resize an image for the model, on the CPU; safe to call from several threads."""
        ...

    def image_tokens(self, images: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return tokens (B, T, C) of prepared images, before the last norm and the projection."""
        ...

    def encode(self, images: Sequence[torch.Tensor]) -> EncodedTokens:
        """Return tokens of prepared images, with what :meth:`region_embeddings` needs of them.

        The tokens are :meth:`image_tokens`', to the bit.
        """
        ...

    def region_embeddings(
        self,
        encoded: Any,  # noqa: ANN401 - this encoder's own, which others only slice
        seen: Sequence[torch.Tensor],
    ) -> torch.Tensor:
        """Return embeddings (N, D) of all regions of B images, image after image, length 1.

        A region that has all patches has its image's embedding. No region's depends on another's.

        Args:
            encoded: B images, as :meth:`encode` returned them.
            seen: B tensors (R_b, g²) bool, the patches of each region in row order, at least one;
                R_b may be 0.
        """
        ...

    def image_embeddings(self, images: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return embeddings (B, D) of prepared images, length 1."""
        ...

    def patch_embeddings(self, tokens_BTC: torch.Tensor) -> torch.Tensor:
        """Return embeddings (B, g², D) of the patches, in row order, *not* normalised.

        Args:
            tokens_BTC: As :meth:`image_tokens` returned them.
        """
        ...

    def text_embeddings(self, texts: Sequence[str]) -> torch.Tensor:
        """Return embeddings (N, D) of texts, *not* normalised."""
        ...


def backbones_fingerprint(
    region_encoder: RegionEncoder, image_text_encoder: ImageTextEncoder
) -> dict[str, Any]:
    """Return the record of two frozen models and of which of their tokens are taken."""
    return {
        "region_encoder": region_encoder.fingerprint(),
        "image_text_encoder": image_text_encoder.fingerprint(),
        "tokens": {
            "region": region_encoder.token_order,
            "image": image_text_encoder.token_order,
        },
    }
