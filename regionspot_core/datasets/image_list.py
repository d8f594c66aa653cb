"""Images that have names and no annotations, and the numbers by which other files mean them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from regionspot_core.datasets.checks import number_in
from regionspot_core.datasets.vocabulary import is_text
from regionspot_core.errors import InputError
from regionspot_core.imaging.sources import ImageSource

_NOWHERE = -(2**62)


class ImageList(NamedTuple):
    """Images, each with a number of its own."""

    files: tuple[str, ...]
    ids: NDArray[np.int64]
    """The number that a file's name is, as COCO's ids are; the file's place, counted from 1, where
    a name is no number or two are the same."""
    are_numbers: bool
    """Whether ids are numbers that names are."""

    @classmethod
    def of(cls, files: Sequence[str]) -> ImageList:
        """Return images with the numbers that their names are, or else their places."""
        numbers = [number_in(PurePosixPath(name).stem) for name in files]
        if None not in numbers and len(set(numbers)) == len(numbers):
            return cls(tuple(files), np.array(numbers, dtype=np.int64), True)
        return cls(tuple(files), np.arange(1, len(files) + 1), False)

    @property
    def keys(self) -> NDArray[np.int64]:
        """Return the ids by which a file may mean the images; places are numbers of ours alone."""
        return self.ids if self.are_numbers else _NOWHERE + self.ids


def list_images(images: ImageSource) -> ImageList:
    """List the images of a place, sorted by name.

    Raises:
        InputError: If there is none, or the name of one is not UTF-8.
    """
    files = images.names()
    if not files:
        raise InputError(f"--images {images.location}: expected images, found none")
    odd = next((name for name in files if not is_text(name)), None)
    if odd is not None:
        raise InputError(
            f"--images {images.location}: expected file names in UTF-8, got {odd!r}; rename it"
        )
    return ImageList.of(files)
