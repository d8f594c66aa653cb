"""How much is computed at once: halved where memory runs out, and kept so."""

from __future__ import annotations

import sys

import torch

from regionspot_core.errors import DeviceMemoryError
from regionspot_core.support.progress import say

_WORDS = (
    "out of memory",
    "not enough memory",
    "DefaultCPUAllocator",
    "can't allocate memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
"""Words of PyTorch's RuntimeErrors on CPUs, on MPS and from CUDA's libraries."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception says that memory ran out."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _WORDS)


class Fit:
    """The most images, and regions of one image, that the models are given together."""

    def __init__(self) -> None:
        self.images = sys.maxsize
        self.regions = sys.maxsize
        self._tried: str | None = None

    def shrink(self, images: int, regions: int) -> None:
        """Halve what was too much: first images, then the regions of a single one.

        Args:
            images: How many were given together.
            regions: How many regions the fullest of them has, jittered copies included.

        Raises:
            DeviceMemoryError: Nothing is left to halve.
        """
        regions = min(regions, self.regions)
        self._tried = self._tried or _counted(images, self.regions)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if images > 1:
            self.images = images // 2
        elif regions > 1:
            self.images, self.regions = 1, regions // 2
        else:
            raise DeviceMemoryError(
                "one image with one region does not fit in the device's memory; give a smaller "
                "--sam or --clip, --precision bfloat16, or a device with more memory"
            )

    def worked(self) -> None:
        """Say what fits, if something did not before."""
        if self._tried is not None:
            now = _counted(self.images, self.regions)
            say(f"extract: out of memory with {self._tried} at once; going on with {now}")
            self._tried = None


def _counted(images: int, regions: int) -> str:
    if regions < sys.maxsize:
        return f"{regions} region{'s' * (regions > 1)} of an image"
    return f"{images} image{'s' * (images > 1)}"
