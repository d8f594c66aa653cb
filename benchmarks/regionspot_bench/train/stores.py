"""The stores that the benchmark trains on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from regionspot_bench.cache.contents import FINGERPRINT, Contents
from regionspot_bench.train.config import CLASSES, REGIONS
from regionspot_core.cache.layout.keep import TokenShape
from regionspot_core.cache.writer import CacheWriter
from regionspot_core.datasets.vocabulary import Vocabulary
from regionspot_core.testing import make_annotations, make_bank


def write_store(
    store: Path,
    shape: TokenShape,
    *,
    images: int,
    part_images: int,
    text_width: int,
    regions: int = REGIONS,
) -> None:
    """Generate a store of ``CLASSES`` classes; the images have as many regions each."""
    contents = Contents(shape, images, regions, part_images)
    vocabulary = Vocabulary.from_names([f"class {k}" for k in range(CLASSES)])
    made = make_annotations(contents.plan.region_count.tolist())
    classes = np.random.default_rng(2).integers(0, CLASSES, len(made.class_index))
    writer = CacheWriter.open_or_create(
        store,
        plan=contents.plan,
        annotations=replace(
            made, vocabulary=vocabulary, class_index=classes.astype(made.class_index.dtype)
        ),
        make_bank=lambda: make_bank(vocabulary, width=text_width),
        fingerprint=FINGERPRINT,
    )
    for part in writer.pending():
        writer.write(part, contents.part(part.index))
    writer.finish()
