"""A predictor for segment-anything's mask generator that takes an embedding, not a picture.

Importing it imports segment-anything, which takes seconds, so the registry of backbones skips it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything import SamPredictor
from segment_anything.utils.transforms import ResizeLongestSide

from regionspot_core.imaging.transforms import Size


class EmbeddedPredictor(SamPredictor):  # type: ignore[misc] # the package is untyped
    """A predictor of one image that is embedded already."""

    def __init__(
        self,
        model: Any,  # noqa: ANN401 - a segment_anything Sam; the package is untyped
        embedding: torch.Tensor,
        *,
        size: Size,
        input_size: Size,
    ) -> None:
        """Take the image.

        Args:
            model: The SAM that made the embedding.
            embedding: (1, S, g, g).
            size: Original (height, width).
            input_size: (height, width) as the model saw it, without padding.
        """
        super().__init__(model)
        self.transform = Float32Transform(model.image_encoder.img_size)
        self._embedding = embedding
        self._size = size
        self._input_size = input_size

    def set_image(self, image: NDArray[np.uint8], image_format: str = "RGB") -> None:
        """Set the embedding, whatever the picture."""
        self.reset_image()
        self.original_size = self._size
        self.input_size = self._input_size
        self.features = self._embedding
        self.is_image_set = True


class Float32Transform(ResizeLongestSide):  # type: ignore[misc] # as above
    """segment-anything's resize with float32 coordinates: Apple's MPS has no float64."""

    def apply_coords(self, coords: NDArray[Any], original_size: Size) -> NDArray[np.float32]:
        """Scale points (…, 2) from original pixels to the model's."""
        return np.asarray(super().apply_coords(coords, original_size), dtype=np.float32)
