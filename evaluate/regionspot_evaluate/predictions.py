"""Naming the proposals of a data set's images, batch by batch, into a journal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from regionspot_core.backbones.loading import Backbones, PreparedImage
from regionspot_core.datasets.record import AnnotationSet
from regionspot_core.errors import ImageError
from regionspot_core.imaging.images import read_image
from regionspot_core.imaging.prompts import BoxPrompts
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
from regionspot_evaluate.recognition.recognizer import EncodedImage, Recognizer, SeenRegions


@dataclass(frozen=True)
class Ready:
    """An image that was read."""

    prepared: PreparedImage
    pixels: RGBImage | None
    """Kept where baselines look at them."""


@dataclass(frozen=True)
class Namers:
    """Who names regions: the heads, which share one look of the frozen models, and baselines."""

    backbones: Backbones
    heads: tuple[Recognizer, ...]
    baselines: dict[BaselineName, Baseline]


def image_batches(config: EvaluateConfig, annotations: AnnotationSet) -> list[range]:
    """The images that the models take together, the same however the work is shared out.

    What a model says of an image depends in its last bits on the others it is taken with.
    """
    return [
        range(len(annotations))[start : start + config.batch_images]
        for start in range(0, len(annotations), config.batch_images)
    ]


def name_batches(
    config: EvaluateConfig,
    annotations: AnnotationSet,
    proposals: list[Proposals] | None,
    namers: Namers,
    batches: dict[int, range],
    journal: Journal,
    advance: Advance,
) -> None:
    """Name every proposal of the batches with every head and baseline.

    Without proposals, SAM finds an image's regions by itself. An image that cannot be read is
    recorded as that.
    """
    positions = [position for batch in batches.values() for position in batch]
    images = _read(config, annotations, namers, positions)
    for number, batch in batches.items():
        read = dict(zip(batch, islice(images, len(batch)), strict=True))
        records = {
            at: ImageRecord(at, failed=str(image))
            for at, image in read.items()
            if isinstance(image, ImageError)
        }
        good = {at: image for at, image in read.items() if isinstance(image, Ready)}
        records |= _records(config, good, proposals, namers)
        journal.add(number, [records[at] for at in batch])
        advance(len(batch))


def _records(
    config: EvaluateConfig,
    images: dict[int, Ready],
    proposals: list[Proposals] | None,
    namers: Namers,
) -> dict[int, ImageRecord]:
    """What is said of images, by their positions, that the models take together."""
    first = namers.heads[0]
    encoded = first.encode_prepared([image.prepared for image in images.values()])
    looked = [
        _look(config, first, image, None if proposals is None else proposals[position])
        for position, image in zip(images, encoded, strict=True)
    ]
    named = [head.name(encoded, [seen for _, seen in looked]) for head in namers.heads]
    records = {}
    for (position, image), view, (boxes, seen), *said in zip(
        images.items(), encoded, looked, *named, strict=True
    ):
        heads = [
            Answer.create(boxes, each.logits, each.probabilities, limit=config.limit)
            for each in said
        ]
        baselines = {}
        if image.pixels is not None:
            shown = ShownRegions(image.pixels, view.image_tokens, boxes.boxes, seen.masks)
            for name, baseline in namers.baselines.items():
                shares = baseline.probabilities(shown)
                baselines[name] = Answer.create(boxes, shares, shares, limit=config.limit)
        answers = [*heads, *baselines.values()]
        wanted = set(range(REGIONS_SHOWN)).union(*(answer.pairs.regions for answer in answers))
        records[position] = ImageRecord(
            position=position,
            boxes=boxes.boxes,
            true=boxes.classes.tolist(),
            masks=[mask if r in wanted else None for r, mask in enumerate(seen.masks)],
            heads=heads,
            baselines=baselines,
        )
    return records


def _look(
    config: EvaluateConfig, first: Recognizer, image: EncodedImage, known: Proposals | None
) -> tuple[Proposals, SeenRegions]:
    """An image's regions: those that are known, or what SAM finds by itself."""
    if known is not None:
        return known, first.look(image, BoxPrompts(known.boxes))
    seen = first.look_everywhere(image, config.propose)
    return Proposals.from_sam(seen), seen


def _read(
    config: EvaluateConfig, annotations: AnnotationSet, namers: Namers, positions: Sequence[int]
) -> Iterator[Ready | ImageError]:
    """Images in order, decoded and resized in threads."""

    def read(position: int) -> Ready | ImageError:
        name = annotations.image_file[position]
        path = config.images / name
        try:
            size = annotations.size(position)
            image = read_image(path, size=size, max_pixels=config.max_pixels)
        except ImageError as error:
            # The folder may move between a run and its resumption: keep it out of the record.
            return ImageError(str(error).replace(str(path), name, 1))
        return Ready(namers.backbones.prepare(image), image if namers.baselines else None)

    return map_ahead(read, positions, workers=config.workers)
