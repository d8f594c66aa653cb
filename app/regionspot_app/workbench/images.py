"""Encoded images and what was segmented in them, kept within a bound of memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import numpy as np
import torch

from regionspot_core.errors import InputError
from regionspot_core.imaging.transforms import Size
from regionspot_evaluate.recognition.image_regions import EncodedImage, SegmentedRegions

MOST_REGIONS = 1024
"""Most regions remembered of one image: previews come and go under a moving pointer."""


class NotEncodedError(InputError):
    """An image is not kept, or never was; encode it (again)."""


@dataclass
class OpenImage:
    """One encoded image, and its regions by their prompts' keys."""

    encoded: EncodedImage
    content: bytes = b""
    """The picture's file, to save it with what is said of it."""
    regions: OrderedDict[str, SegmentedRegions] = field(default_factory=OrderedDict)
    size_bytes: int = 0

    def __post_init__(self) -> None:
        self.size_bytes = bytes_of(self.encoded) + len(self.content)

    @property
    def size(self) -> Size:
        """Return (height, width), original pixels."""
        return self.encoded.size

    def region(self, key: str) -> SegmentedRegions | None:
        """Return the region of a prompt; None where it was not segmented yet, or long ago."""
        found = self.regions.get(key)
        if found is not None:
            self.regions.move_to_end(key)
        return found

    def keep(self, key: str, region: SegmentedRegions) -> None:
        """Remember a region; the one not asked for longest makes room."""
        old = self.regions.pop(key, None)
        self.regions[key] = region
        self.size_bytes += bytes_of(region) - (0 if old is None else bytes_of(old))
        while len(self.regions) > MOST_REGIONS:
            _, oldest = self.regions.popitem(last=False)
            self.size_bytes -= bytes_of(oldest)


class OpenImages:
    """Encoded images by their ids; the last one asked for stays whatever its size.

    Several threads may use it: what is saved does not wait for the models.

    Args:
        most_bytes: Memory that they may take together.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._images: OrderedDict[str, OpenImage] = OrderedDict()
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._images)

    def __contains__(self, image_id: str) -> bool:
        return image_id in self._images

    @property
    def bytes(self) -> int:
        """Return the memory that they take."""
        with self._lock:
            return sum(image.size_bytes for image in self._images.values())

    def get(self, image_id: str) -> OpenImage:
        """Return an image.

        Raises:
            NotEncodedError: If it is not kept.
        """
        with self._lock:
            if image_id not in self._images:
                raise NotEncodedError(
                    f"image {image_id}: not encoded, or no longer; encode it again"
                )
            self._images.move_to_end(image_id)
            return self._images[image_id]

    def add(self, image_id: str, image: OpenImage) -> None:
        """Keep an image; those not asked for longest make room."""
        with self._lock:
            self._images[image_id] = image
            self._images.move_to_end(image_id)
            self.make_room()

    def make_room(self) -> None:
        """Drop those not asked for longest, down to one, until the rest is within the bound."""
        with self._lock:
            while len(self._images) > 1 and self.bytes > self._most_bytes:
                self._images.popitem(last=False)

    def clear(self) -> None:
        """Forget all images."""
        self._images.clear()


def bytes_of(value: Any) -> int:  # noqa: ANN401 - whatever an encoder keeps
    """Return the memory of the tensors, arrays and texts in a value, each storage counted once."""
    return sum(_storages(value).values())


def _storages(value: Any) -> dict[int, int]:  # noqa: ANN401 - as above
    if isinstance(value, torch.Tensor):
        storage = value.untyped_storage()
        return {storage.data_ptr(): storage.nbytes()}
    if isinstance(value, np.ndarray):
        return {id(value): value.nbytes}
    if isinstance(value, str):
        return {id(value): len(value)}
    found: dict[int, int] = {}
    if is_dataclass(value):
        parts: Sequence[Any] = [getattr(value, each.name) for each in fields(value)]
    elif isinstance(value, Mapping):
        parts = list(value.values())
    elif isinstance(value, list | tuple):
        parts = value
    else:
        parts = []
    for part in parts:
        found |= _storages(part)
    return found
