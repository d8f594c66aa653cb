"""Images that are scored: where heads learnt from some of them, the others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from regionspot_core.heads.checkpoint import read_record
from regionspot_core.support.progress import say
from regionspot_core.support.tables import counted
from regionspot_evaluate.recognition.head_names import head_names


def images_to_score(
    heads: Sequence[Path],
    annotations_sha256: str,
    image_ids: NDArray[np.int64],
    *,
    all_images: bool,
) -> NDArray[np.bool_]:
    """Return (I,) the images that no head learnt from; all of them where none is left.

    One line says how many they are; another warns of images that a head learnt from.

    Args:
        heads: Folders of the heads.
        annotations_sha256: Checksum of the images' annotation file.
        image_ids: (I,) their ids in it.
        all_images: Whether to score all of them in any case.

    Raises:
        CheckpointError: If a head's record cannot be read.
    """
    learnt = images_learnt_from(heads, annotations_sha256, image_ids)
    new: NDArray[np.bool_] = ~np.any(learnt, axis=0)
    if new.all():
        return new
    if new.any() and not all_images:
        say(
            f"evaluate: scoring the {int(new.sum()):,} of {counted(len(new), 'image')} that were "
            f"held out of training; --all-images scores all"
        )
        return new
    by_head = zip(head_names(heads), learnt, strict=True)
    known = [f"{name} learnt from {int(each.sum()):,}" for name, each in by_head if each.any()]
    say(
        f"evaluate: of these {counted(len(new), 'image')}, {' and '.join(known)}: the figures tell "
        f"what was remembered, not how well new images are named. To know that, train with "
        f"--split, or score other images"
    )
    return np.ones(len(new), dtype=bool)


def images_learnt_from(
    heads: Sequence[Path], annotations_sha256: str, image_ids: NDArray[np.int64]
) -> list[NDArray[np.bool_]]:
    """Return for each head (I,) whether it learnt from each image of an annotation file."""
    return [read_record(head).images_learnt_from(annotations_sha256, image_ids) for head in heads]
