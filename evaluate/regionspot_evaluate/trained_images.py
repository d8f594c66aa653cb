"""Noticing images that a head was trained on under other annotations: often the wrong folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath

from regionspot_core.datasets.file_sample import FEWEST
from regionspot_core.heads.checkpoint import read_record
from regionspot_core.heads.trained_on import Training
from regionspot_core.support.progress import say_once


def warn_of_trained_images(
    heads: Sequence[Path],
    annotations_sha256: str,
    names: Iterable[str],
    file_bytes: Callable[[str], int | None],
    *,
    source: str,
) -> None:
    """Say if image files are those of a head's training, which had other annotations.

    Annotations cannot tell: the images of `train/` and `val/` may have the same names and sizes in
    pixels. Files of the same names and bytes are the same images, whatever folder they are in.

    Args:
        heads: Folders of the heads.
        annotations_sha256: Checksum of the images' annotation file.
        names: The image files.
        file_bytes: Function that returns a file's size in bytes; None where there is none.
        source: What the files were given by, for the message: ``--images photos``.
    """
    path_of = {PurePosixPath(name).name: name for name in names}
    for head in heads:
        training = Training.of(read_record(head).training)
        for files in training.files_under_other_annotations(annotations_sha256):
            learnt = {PurePosixPath(name).name: size for name, size in files.items()}
            common = [name for name in learnt if name in path_of]
            if len(common) >= FEWEST and all(
                file_bytes(path_of[name]) == learnt[name] for name in common
            ):
                say_once(
                    f"{source}: {head} was trained on these files (same names, same bytes), with "
                    f"other annotations than these: is it the wrong folder? The figures may tell "
                    f"what was remembered, not how well new images are named"
                )
