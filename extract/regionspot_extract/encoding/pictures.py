"""Decoding and resizing images ahead of the models, in threads."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from regionspot_core.backbones.loading import Backbones, PreparedImage
from regionspot_core.cache.layout.keep import Keep
from regionspot_core.cache.storage.markers import FailedImage
from regionspot_core.datasets.record import NOT_READABLE, AnnotationSet
from regionspot_core.datasets.usable import examples_of
from regionspot_core.errors import ImageError
from regionspot_core.imaging.images import ImageHeader
from regionspot_core.imaging.sources import ImageSource
from regionspot_core.imaging.transforms import Size
from regionspot_core.region_tokens import EMBEDDING_INPUTS
from regionspot_core.support.prefetch import map_ahead
from regionspot_core.support.progress import say
from regionspot_core.support.tables import counted
from regionspot_extract.encoding.stages import READ, Clock, no_clock
from regionspot_extract.encoding.transfer import DeviceTransfer

Label = TypeVar("Label")
UNKNOWN = -1
"""The size of a file that was not there."""


@dataclass(frozen=True)
class Picture:
    """One image, ready for the models."""

    position: int
    """Its place in the annotation set."""
    views: tuple[PreparedImage, ...]
    """The image, and its mirror image where that is kept."""


class PictureReader:
    """Reader of a data set's images for one pair of models."""

    def __init__(
        self,
        images: ImageSource,
        annotations: AnnotationSet,
        backbones: Backbones,
        *,
        keep: Keep,
        workers: int,
        max_pixels: int,
        transfer: DeviceTransfer,
        clock: Clock = no_clock,
    ) -> None:
        self._images = images
        self._annotations = annotations
        self._backbones = backbones
        self._keep = keep
        self._workers = workers
        self._max_pixels = max_pixels
        self._transfer = transfer
        self._clock = clock
        self._ambiguous: list[str] = []

    def say_ambiguous(self) -> None:
        """Say how many of the images that were read have an orientation that nothing confirms."""
        if self._ambiguous:
            say(
                f"{counted(len(self._ambiguous), 'image')} with an EXIF orientation that the "
                f"annotated size does not tell of ({examples_of(sorted(self._ambiguous))}): pixels "
                f"were taken as stored; extract check --pictures shows whether boxes fit"
            )

    def read(
        self,
        positions: Iterable[tuple[Label, int | None]],
        *,
        planned_bytes: NDArray[np.int64] | None = None,
    ) -> Generator[tuple[Label, Picture | FailedImage | None]]:
        """Yield the pictures at ``positions``, in that order, a few read ahead.

        Args:
            positions: Places in the annotation set, each with a label that goes with its picture;
                None is no place, and gives no picture.
            planned_bytes: (I,) size of every file when the store was planned; a file of another
                size is another image, and fails. None looks at no size.
        """

        def read_one(
            item: tuple[Label, int | None],
        ) -> tuple[Label, Picture | FailedImage | None]:
            label, position = item
            if position is None:
                return label, None
            with self._clock(READ):
                return label, self._read_one(position, planned_bytes=planned_bytes)

        return map_ahead(read_one, positions, workers=self._workers)

    def _read_one(
        self, position: int, *, planned_bytes: NDArray[np.int64] | None
    ) -> Picture | FailedImage:
        name = self._annotations.image_file[position]
        try:
            if planned_bytes is not None:
                self._require_bytes(name, int(planned_bytes[position]))
            size = self._annotations.size(position)
            image = self._images.read(
                name,
                size=size,
                max_pixels=self._max_pixels,
                on_header=partial(self._note_orientation, name, size),
            )
        except ImageError as error:
            return FailedImage(position, name, self._images.reason(name, error))
        images = [image]
        if self._keep.flip:
            images.append(np.ascontiguousarray(image[:, ::-1]))
        pixels = EMBEDDING_INPUTS[self._keep.region_embedding].pixels
        views = [self._backbones.prepare(each, keep_pixels=pixels) for each in images]
        return Picture(position, tuple(self._transfer.pin(view) for view in views))

    def _note_orientation(self, name: str, size: Size, header: ImageHeader) -> None:
        # Where sizes were taken from the images, they tell nothing of how these were annotated.
        has_size = NOT_READABLE not in self._annotations.dropped
        if header.is_ambiguous(size if has_size else None):
            self._ambiguous.append(name)

    def _require_bytes(self, name: str, planned: int) -> None:
        now = self._images.file_bytes(name)
        if planned != UNKNOWN and now not in (None, planned):
            raise ImageError(
                f"{self._images.place(name)}: the file changed since the store was planned "
                f"({planned:,} bytes then, {now:,} now)"
            )


def file_bytes(images: ImageSource, files: Sequence[str], *, workers: int) -> NDArray[np.int64]:
    """Return the bytes of each file, (I,); :data:`UNKNOWN` where there is none."""
    sizes = map_ahead(images.file_bytes, files, workers=workers)
    known = (UNKNOWN if size is None else size for size in sizes)
    return np.fromiter(known, dtype=np.int64, count=len(files))
