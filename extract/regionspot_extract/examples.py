"""Example regions of classes: read and checked before any model is loaded, then embedded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from regionspot_core.backbones.crops import EMBEDDED_SCALE, box_crops, embed_crops
from regionspot_core.backbones.protocols import ImageTextEncoder
from regionspot_core.datasets.reading import read_annotations
from regionspot_core.datasets.record import NOT_READABLE, AnnotationSet
from regionspot_core.datasets.usable import examples_of, require_regions
from regionspot_core.datasets.vocabulary import Vocabulary
from regionspot_core.errors import InputError
from regionspot_core.imaging.sources import ImageSource, open_images
from regionspot_core.imaging.transforms import RGBImage
from regionspot_core.support.progress import progress_line
from regionspot_core.support.records import shown
from regionspot_core.support.tables import counted
from regionspot_core.text.class_bank import ClassBank, Examples, mix, unit_mean
from regionspot_core.text.match_names import match_names
from regionspot_extract.config import ExamplesConfig


@dataclass(frozen=True)
class ExampleRegions:
    """R regions that show the K classes of a vocabulary, each at least once."""

    images: ImageSource
    annotations: AnnotationSet
    max_pixels: int
    facts: Examples
    of_class: tuple[NDArray[np.int64], ...]
    """K times the positions of a class's regions among the R."""

    def add_to(self, bank: ClassBank, encoder: ImageTextEncoder) -> ClassBank:
        """Return a bank of texts with the examples' share in each class's embedding.

        Raises:
            ImageError: If an image cannot be read.
        """
        mixed_KD = mix(bank.embeddings, self.embed(encoder), share=self.facts.share)
        return replace(bank, embeddings=mixed_KD, examples=self.facts)

    def embed(self, encoder: ImageTextEncoder) -> NDArray[np.float32]:
        """Return the classes' embeddings (K, D), of length 1, by a pass over each region's crop.

        Raises:
            ImageError: If an image cannot be read.
        """
        with progress_line("examples", total=len(self.annotations.box), unit="regions") as advance:

            def crops() -> Iterator[RGBImage]:
                for pixels, boxes in _pictures(self.images, self.annotations, self.max_pixels):
                    yield from box_crops(pixels, boxes, scale=EMBEDDED_SCALE)
                    advance(len(boxes))

            embedded_RD = embed_crops(encoder, crops()).numpy()
        return np.stack([unit_mean(embedded_RD[regions]) for regions in self.of_class])


def read_examples(config: ExamplesConfig, vocabulary: Vocabulary) -> ExampleRegions | None:
    """Read the regions that are given as examples; None where no file is given.

    Raises:
        ImageError: If an image cannot be read.
        InputError: If the file is malformed, a class has no region, a region's name is of no class,
            or an image is missing.
    """
    if config.file is None:
        return None
    images = open_images(config.images or _folder_of(config))
    annotations = read_annotations(config.file, images=images)
    require_regions(annotations)
    _require_images(annotations, images)
    of_class = _by_class(annotations, vocabulary)
    _require_all_classes(vocabulary, of_class, source=f"--examples {config.file}")
    facts = Examples(
        regions=len(annotations.box),
        share=config.share,
        sha256=_sha256(images, annotations, config.max_pixels),
    )
    return ExampleRegions(images, annotations, config.max_pixels, facts, of_class)


def _pictures(
    images: ImageSource, marks: AnnotationSet, max_pixels: int
) -> Iterator[tuple[RGBImage, NDArray[np.float32]]]:
    """Yield the pixels of each image that has regions, and their boxes (xyxy) in these."""
    for image in np.flatnonzero(np.diff(marks.region_start)).tolist():
        pixels = images.read(marks.image_file[image], size=marks.size(image), max_pixels=max_pixels)
        yield pixels, marks.box[marks.regions(image)]


def _sha256(images: ImageSource, marks: AnnotationSet, max_pixels: int) -> str:
    """Return the checksum of regions, their names and the pixels of their images."""
    digest = hashlib.sha256(marks.sha256.encode())
    for pixels, _ in _pictures(images, marks, max_pixels):
        digest.update(pixels.tobytes())
    return digest.hexdigest()


def _folder_of(config: ExamplesConfig) -> Path:
    assert config.file is not None
    return config.file if config.file.is_dir() else config.file.parent


def _by_class(annotations: AnnotationSet, vocabulary: Vocabulary) -> tuple[NDArray[np.int64], ...]:
    """Return K times the positions of the regions whose name is a class's."""
    present = np.unique(annotations.class_index)
    names = [annotations.vocabulary.names[k] for k in present]
    places = match_names(vocabulary, names, source=f"--examples {annotations.path}")
    return tuple(
        np.array([], dtype=np.int64)
        if place is None
        else np.flatnonzero(annotations.class_index == present[place])
        for place in places
    )


def _require_all_classes(
    vocabulary: Vocabulary, of_class: tuple[NDArray[np.int64], ...], *, source: str
) -> None:
    """Refuse examples of some classes alone: these would be taken for the others too.

    CLIP's embeddings of pictures are closer to each other than to those of texts.
    """
    without = [name for name, regions in zip(vocabulary.names, of_class, strict=True)
               if not len(regions)]  # fmt: skip
    if without:
        names = ", ".join(shown(name) for name in without[:3]) + ", …" * (len(without) > 3)
        raise InputError(
            f"{source}: expected a region of each of {len(of_class):,} classes, got none "
            f"of {names}; a class without examples loses against those with, since pictures "
            f"are more alike than a picture and a text: add regions, or take the "
            f"{counted(len(without), 'name')} out of the vocabulary"
        )


def _require_images(annotations: AnnotationSet, images: ImageSource) -> None:
    """Refuse examples of which an image is missing: they are few, and each is to count."""
    used = np.flatnonzero(np.diff(annotations.region_start))
    missing = [name for i in used if not images.contains(name := annotations.image_file[i])]
    unreadable = annotations.dropped.get(NOT_READABLE, 0)
    if missing or unreadable:
        first = f" ({examples_of(missing)})" if missing else ""
        raise InputError(
            f"--examples {annotations.path}: {counted(len(missing) + unreadable, 'image')} cannot "
            f"be found or read in {images.location}{first}; give the folder that the file names "
            f"start from with --images"
        )
