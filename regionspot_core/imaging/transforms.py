"""The two resizes of the method, each moving an image and its boxes together.

SAM keeps the aspect ratio and fits the long side; CLIP squashes to a square without cropping.
Sizes are (height, width) in pixels. Boxes are xyxy.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from regionspot_core.imaging.boxes import FloatArray

Size = tuple[int, int]
RGBImage = NDArray[np.uint8]
"""An image as uint8 (H, W, 3), RGB."""


@dataclass(frozen=True)
class Resize(ABC):
    """A resize from original pixels to model pixels; subclasses say to which size."""

    side: int
    """The model's input side in pixels."""

    @abstractmethod
    def target_size(self, size: Size) -> Size:
        """Return the (height, width) that an image of (height, width) is resized to."""

    def image(self, image: RGBImage) -> RGBImage:
        """Resize (H, W, 3) bilinearly (Pillow's antialiased filter) to the target size."""
        height, width = self.target_size(image.shape[:2])
        if image.shape[:2] == (height, width):
            return image
        resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(resized)

    def boxes(self, boxes: ArrayLike, size: Size) -> FloatArray:
        """Scale boxes (R, 4) in original pixels of an image of ``size`` to model pixels."""
        return np.asarray(boxes, dtype=np.float64) * self._scale(size)

    def boxes_back(self, boxes: ArrayLike, size: Size) -> FloatArray:
        """Scale boxes (R, 4) in model pixels to original pixels of an image of ``size``."""
        return np.asarray(boxes, dtype=np.float64) / self._scale(size)

    def _scale(self, size: Size) -> FloatArray:
        height, width = self.target_size(size)
        x, y = width / size[1], height / size[0]
        return np.array([x, y, x, y], dtype=np.float64)


@dataclass(frozen=True)
class ResizeLongSide(Resize):
    """SAM's resize: the long side becomes ``side``, the short one is rounded half up.

    The same sizes as ``segment_anything.utils.transforms.ResizeLongestSide``; a side never
    rounds below one pixel. Padding to a square happens after normalisation, in the encoder.
    """

    def target_size(self, size: Size) -> Size:
        """Return the (height, width) whose longer side is ``side``."""
        scale = self.side / max(size)
        height, width = (max(1, int(length * scale + 0.5)) for length in size)
        return height, width


@dataclass(frozen=True)
class ResizeSquare(Resize):
    """CLIP's resize here: squashed to ``side × side``, no crop, so every region stays visible."""

    def target_size(self, size: Size) -> Size:
        """Return ``(side, side)``."""
        return self.side, self.side
