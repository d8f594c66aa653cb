"""Noticing images that a head was trained on under other annotations: often the wrong folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from regionspot_core.datasets.file_sample import FEWEST
from regionspot_core.datasets.record import AnnotationSet
from regionspot_core.heads.checkpoint import read_record
from regionspot_core.heads.trained_on import Training
from regionspot_core.imaging.sources import ImageSource
from regionspot_core.support.progress import say_once


def warn_of_trained_images(
    heads: Sequence[Path], annotations: AnnotationSet, images: ImageSource
) -> None:
    """Say if the image files are those of a head's training, and the annotations are not.

    Annotations cannot tell: the images of `train/` and `val/` may have the same names and sizes in
    pixels. Files of the same names and bytes are the same images.
    """
    names = frozenset(annotations.image_file)
    for head in heads:
        training = Training.of(read_record(head).training)
        for files in training.files_under_other_annotations(annotations.sha256):
            common = {name: size for name, size in files.items() if name in names}
            if len(common) >= FEWEST and all(
                images.file_bytes(name) == size for name, size in common.items()
            ):
                say_once(
                    f"--images {images.location}: these are the files that {head} was trained on "
                    f"(same names, same bytes), and {annotations.path} is not what it learnt from; "
                    f"is it the wrong folder?"
                )
