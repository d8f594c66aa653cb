"""CLIP's own embeddings of boxes of an image that it has encoded."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import torch

from regionspot_core.backbones.crops import embed_regions
from regionspot_core.backbones.patch_grid import touched_patches
from regionspot_core.backbones.protocols import ImageTextEncoder
from regionspot_core.imaging.boxes import FloatArray
from regionspot_core.region_tokens import EMBEDDING_INPUTS, EmbeddingSource
from regionspot_evaluate.recognition.image_regions import EncodedImage


def embed_boxes(
    clip: ImageTextEncoder,
    image: EncodedImage,
    boxes: FloatArray,
    mask_grids: torch.Tensor | None,
    sources: Collection[EmbeddingSource],
) -> dict[EmbeddingSource, torch.Tensor]:
    """Return CLIP's embeddings (R, D) of boxes, length 1, by each way that the image allows.

    Args:
        clip: CLIP.
        image: The image: with ``encoded`` for embeddings by tokens, which are then always made,
            and with ``pixels`` for those of crops.
        boxes: (R, 4) xyxy, original pixels.
        mask_grids: (R, 16, 16), SAM's masks inside the boxes, for masked crops.
        sources: Ways that are asked for.
    """
    exact = np.asarray(boxes, dtype=np.float32)  # as a store has them: the same patches
    found: dict[EmbeddingSource, torch.Tensor] = {}
    if image.encoded is not None and clip.patch_grid is not None:
        seen = touched_patches(exact, image.size, clip.patch_grid)
        found["tokens"] = clip.region_embeddings(image.encoded, [seen])
    for source in sources:
        inputs = EMBEDDING_INPUTS[source]
        if inputs.pixels and image.pixels is not None:
            masks = mask_grids if inputs.masks else None
            found[source] = embed_regions(clip, image.pixels, exact, masks)
    return found
