"""Regions without classes: a detector's boxes, or SAM's own, of images without annotations."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from regionspot_core.datasets.builder import AnnotationBuilder
from regionspot_core.datasets.detections.box_reader import BoxBlock, BoxReader
from regionspot_core.datasets.image_list import ImageList, list_images
from regionspot_core.datasets.record import AnnotationSet
from regionspot_core.datasets.vocabulary import Vocabulary
from regionspot_core.errors import AnnotationError
from regionspot_core.imaging.sources import ImageSource
from regionspot_core.support.files import file_sha256

REGION = "region"
"""Name of the one class that a vocabulary must have where there are none."""
NOT_THERE = "images not there"


def read_unlabelled(path: Path, images: ImageSource) -> AnnotationSet:
    """Read boxes as regions without classes; sizes come from the images' headers.

    The images are those that the file names. A region's annotation id is its box's place in the
    file, counted from 1.

    Args:
        path: COCO results, or boxes by image, as :class:`BoxReader` reads them; scores may lack.
        images: The images.

    Raises:
        AnnotationError: If the file is missing or malformed, or none of its images is there.
        InputError: If there is no image, or the name of one is not UTF-8.
    """
    listed = list_images(images)
    reader = _Reader(path, listed, images)
    reader.read()
    used = sorted(reader.used)
    if not used:
        named = f" (first: {reader.first_absent})" if reader.absent else ""
        raise AnnotationError(
            f"{path}: none of the images that it has boxes of is in {images.location}{named}"
        )
    for place in used:
        reader.builder.add_image(int(listed.ids[place]), file=listed.files[place])
    sizes = reader.builder.read_sizes(images)
    ids = listed.ids[used].tobytes() + "\0".join(listed.files[place] for place in used).encode()
    sha256 = hashlib.sha256(file_sha256(path).encode() + ids + sizes).hexdigest()
    found = reader.builder.build(Vocabulary.from_names([REGION]), sha256).regions()
    dropped = found.dropped | ({NOT_THERE: reader.absent} if reader.absent else {})
    return replace(
        found, class_index=np.full_like(found.class_index, -1), labelled=False, dropped=dropped
    )


class _Reader(BoxReader):
    """Boxes on their way into a table of annotations."""

    scored = False
    leaves_out = True

    def __init__(self, path: Path, listed: ImageList, images: ImageSource) -> None:
        super().__init__(path, listed.keys, listed.files, images.location)
        self.builder = AnnotationBuilder(path)
        self.used: set[int] = set()
        """Places in the list of the images that the file names."""
        self._listed = listed

    def take(self, block: BoxBlock) -> None:
        """Add boxes to the table."""
        self.used.update(block.image.tolist())
        ids, places = self._listed.ids[block.image].tolist(), (block.place + 1).tolist()
        for place, image, box in zip(places, ids, block.sides.tolist(), strict=True):
            self.builder.add_region(place, image=image, class_id=1, crowd=False, box=box)
