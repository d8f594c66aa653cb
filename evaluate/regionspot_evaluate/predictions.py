"""Classifying the proposals of a data set's images, batch by batch, into a journal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from regionspot_core.backbones.loading import Backbones, PreparedImage
from regionspot_core.datasets.record import AnnotationSet
from regionspot_core.errors import ImageError
from regionspot_core.imaging.prompts import BoxPrompts
from regionspot_core.imaging.sources import ImageSource
from regionspot_core.imaging.transforms import RGBImage
from regionspot_core.support.prefetch import map_ahead
from regionspot_core.support.progress import Advance
from regionspot_evaluate.config import EvaluateConfig
from regionspot_evaluate.folder.journal import Journal
from regionspot_evaluate.folder.records import Answer, ImageRecord
from regionspot_evaluate.pictures import REGIONS_SHOWN
from regionspot_evaluate.proposals.boxes import Proposals
from regionspot_evaluate.recognition.baselines.names import BaselineName
from regionspot_evaluate.recognition.baselines.protocol import Baseline, ShownRegions
from regionspot_evaluate.recognition.recognizer import EncodedImage, Recognizer, SegmentedRegions


@dataclass(frozen=True)
class ReadImage:
    """An image that was read, or the reason why it could not be."""

    prepared: PreparedImage | None = None
    """Inputs of the frozen models; None for an image that could not be read."""
    pixels: RGBImage | None = None
    """Kept where baselines need them."""
    failed: str | None = None


@dataclass(frozen=True)
class Classifiers:
    """The heads, which share the frozen models' work, and the baselines of an evaluation."""

    backbones: Backbones
    heads: tuple[Recognizer, ...]
    baselines: dict[BaselineName, Baseline]


def image_batches(config: EvaluateConfig, annotations: AnnotationSet) -> list[range]:
    """Return the images that the models take together, the same however the work is split.

    An image's figures depend in their last bits on the other images of its batch.
    """
    return [
        range(len(annotations))[start : start + config.batch_images]
        for start in range(0, len(annotations), config.batch_images)
    ]


def classify_batches(
    config: EvaluateConfig,
    source: ImageSource,
    annotations: AnnotationSet,
    proposals: list[Proposals] | None,
    classifiers: Classifiers,
    batches: dict[int, range],
    journal: Journal,
    advance: Advance,
) -> None:
    """Classify every proposal of the batches with every head and baseline.

    Without proposals, SAM finds an image's regions by itself. An image that cannot be read is
    recorded with the reason.
    """
    positions = [position for batch in batches.values() for position in batch]
    images = _read(config, source, annotations, classifiers, positions)
    for number, batch in batches.items():
        read = dict(zip(batch, islice(images, len(batch)), strict=True))
        records = _records(config, read, proposals, classifiers)
        journal.add(number, [records[position] for position in batch])
        advance(len(batch))


def _records(
    config: EvaluateConfig,
    images: dict[int, ReadImage],
    proposals: list[Proposals] | None,
    classifiers: Classifiers,
) -> dict[int, ImageRecord]:
    """Return the records of images, by position, that the models take together."""
    records = {
        position: ImageRecord(position, failed=image.failed)
        for position, image in images.items()
        if image.failed is not None
    }
    prepared = {
        position: image.prepared for position, image in images.items() if image.prepared is not None
    }
    first = classifiers.heads[0]
    encoded = first.encode_prepared(list(prepared.values()))
    regions = [
        _segment(config, first, image, None if proposals is None else proposals[position])
        for position, image in zip(prepared, encoded, strict=True)
    ]
    segmented = [each.segmented for each in regions]
    recognitions = [head.classify(encoded, segmented) for head in classifiers.heads]
    for position, image, each, *of_heads in zip(
        prepared, encoded, regions, *recognitions, strict=True
    ):
        answers = [
            Answer.create(each.proposals, one.logits, one.probabilities, limit=config.limit)
            for one in of_heads
        ]
        baselines = _baseline_answers(config, classifiers, images[position].pixels, image, each)
        records[position] = _record(position, each, answers, baselines)
    return records


def _baseline_answers(
    config: EvaluateConfig,
    classifiers: Classifiers,
    pixels: RGBImage | None,
    image: EncodedImage,
    regions: _Regions,
) -> dict[BaselineName, Answer]:
    if pixels is None:
        return {}
    boxes = regions.proposals.boxes
    shown = ShownRegions(pixels, image.image_tokens, boxes, regions.segmented.masks)
    answers = {}
    for name, baseline in classifiers.baselines.items():
        shares = baseline.probabilities(shown)
        answers[name] = Answer.create(regions.proposals, shares, shares, limit=config.limit)
    return answers


def _record(
    position: int,
    regions: _Regions,
    heads: list[Answer],
    baselines: dict[BaselineName, Answer],
) -> ImageRecord:
    """Return an image's record; masks that no detection or picture needs are left out."""
    answers = [*heads, *baselines.values()]
    wanted = set(range(REGIONS_SHOWN)).union(*(answer.pairs.regions for answer in answers))
    masks = regions.segmented.masks
    return ImageRecord(
        position=position,
        boxes=regions.proposals.boxes,
        true=regions.proposals.classes.tolist(),
        masks=[mask if r in wanted else None for r, mask in enumerate(masks)],
        heads=heads,
        baselines=baselines,
    )


class _Regions(NamedTuple):
    proposals: Proposals
    segmented: SegmentedRegions
    """The same regions, with SAM's masks and tokens."""


def _segment(
    config: EvaluateConfig, first: Recognizer, image: EncodedImage, known: Proposals | None
) -> _Regions:
    """Segment an image's proposals; without any, the regions that SAM finds by itself."""
    if known is not None:
        return _Regions(known, first.segment(image, BoxPrompts(known.boxes)))
    segmented = first.segment_everything(image, config.propose)
    return _Regions(Proposals.from_sam(segmented), segmented)


def _read(
    config: EvaluateConfig,
    source: ImageSource,
    annotations: AnnotationSet,
    classifiers: Classifiers,
    positions: Sequence[int],
) -> Iterator[ReadImage]:
    """Yield images in order, decoded and resized in threads."""

    def read(position: int) -> ReadImage:
        name = annotations.image_file[position]
        try:
            size = annotations.size(position)
            image = source.read(name, size=size, max_pixels=config.max_pixels)
        except ImageError as error:
            # The folder may move between a run and its resumption: keep it out of the record.
            return ReadImage(failed=str(error).replace(str(source.place(name)), name, 1))
        prepared = classifiers.backbones.prepare(image)
        return ReadImage(prepared, image if classifiers.baselines else None)

    return map_ahead(read, positions, workers=config.workers)
