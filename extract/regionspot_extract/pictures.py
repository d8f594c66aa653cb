"""Decoding and resizing images ahead of the models, in threads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from regionspot_core.backbones.loading import Backbones
from regionspot_core.cache.markers import FailedImage
from regionspot_core.datasets import AnnotationSet
from regionspot_core.errors import ImageError
from regionspot_core.images import read_image
from regionspot_core.prefetch import map_ahead


@dataclass(frozen=True)
class Picture:
    """One image, resized for both models."""

    position: int
    """Its place in the annotation set."""
    region_input: torch.Tensor
    image_input: torch.Tensor


class PictureReader:
    """Reads a data set's images for one pair of models."""

    def __init__(
        self, folder: Path, annotations: AnnotationSet, backbones: Backbones, *, workers: int
    ) -> None:
        self._folder = folder
        self._annotations = annotations
        self._backbones = backbones
        self._workers = workers

    def read(self, positions: Iterable[int]) -> Iterator[Picture | FailedImage]:
        """The pictures at ``positions``, in that order, a few read ahead."""
        return map_ahead(self._read_one, positions, workers=self._workers)

    def _read_one(self, position: int) -> Picture | FailedImage:
        name = self._annotations.image_file[position]
        try:
            image = read_image(self._folder / name, size=self._annotations.size(position))
        except ImageError as error:
            # The folder may move between a run and its resumption: keep it out of the store.
            reason = str(error).replace(f"{self._folder / name}: ", "", 1)
            return FailedImage(position, name, reason)
        return Picture(
            position,
            self._backbones.region_encoder.prepare(image),
            self._backbones.image_text_encoder.prepare(image),
        )
