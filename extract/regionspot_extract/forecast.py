"""How long an extraction will take, from encoding some of its images here and now.

Images with many regions take longer, and the sample's mix need not be the set's: what an image
takes and what each of its regions adds are told apart by the stages' times.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from regionspot_core.support.compiling import BATCHES_TO_COMPILE
from regionspot_core.support.prefetch import in_batches
from regionspot_core.text.embed import class_batches, embed_classes, paper_text
from regionspot_extract.encoding.allocator import freed_memory_kept
from regionspot_extract.encoding.pictures import Picture
from regionspot_extract.encoding.stages import DECODE, StageClock
from regionspot_extract.prepare import Extraction

SAMPLE_SECONDS = 5.0
"""So long the sample is encoded, or until the batch that then runs is done."""
SAMPLE_IMAGES = 512
BATCH_SECONDS = 20.0
"""A batch that would take longer is made smaller: a slow processor gains nothing by large ones."""
TEXT_SECONDS = 0.2
"""A class that takes longer to embed is enough to go by."""

Now = Callable[[], float]


@dataclass(frozen=True)
class Pace:
    """Time that encoding takes, reading included."""

    image: float
    """Seconds of an image without regions."""
    region: float
    """Seconds that each region adds."""
    start: float = 0.0
    """Seconds until the models' kernels are compiled, where they are."""

    @classmethod
    def of(cls, *, seconds: float, decoding: float, images: int, regions: int) -> Pace:
        """Return the pace of a sample of ``seconds``, ``decoding`` of them for its regions."""
        return cls((seconds - decoding) / images, decoding / regions if regions else 0.0)

    def seconds(self, *, images: int, regions: int) -> float:
        """Return the seconds of so many images and regions."""
        return images * self.image + regions * self.region


@dataclass(frozen=True)
class Forecast:
    """Seconds of a run, from its start to the finished store."""

    loading: float
    """Annotations read and models loaded; twice where processes for devices follow."""
    classes: float
    """Class names embedded; none where a bank is given."""
    encoding: float
    """Images, by all processes together."""
    compiling: float = 0.0
    """The models' kernels made, where they are."""

    @property
    def total(self) -> float:
        """Seconds of everything."""
        return self.loading + self.classes + self.compiling + self.encoding


def forecast(
    extraction: Extraction, clock: StageClock, *, now: Now = time.perf_counter
) -> Forecast | None:
    """Return what a run would take; None where no image of the sample could be read.

    Args:
        extraction: What is to be done.
        clock: The extraction's own.
        now: Tells seconds.
    """
    with freed_memory_kept(extraction.device):
        pace = measure_pace(extraction, clock, now=now)
    if pace is None:
        return None
    plan, config = extraction.plan, extraction.config
    encoding = pace.seconds(images=plan.image_count, regions=int(plan.region_count.sum()))
    return Forecast(
        loading=extraction.loading_seconds * (2 if config.devices else 1),
        classes=0.0 if config.bank else _class_seconds(extraction, now),
        encoding=encoding / min(_devices_at_work(config.devices), plan.part_count),
        compiling=pace.start,
    )


def _devices_at_work(devices: tuple[str, ...]) -> int:
    """Return how many devices work beside each other: processes on the CPU share one."""
    gpus = [device for device in devices if device != "cpu"]
    return max(1, len(gpus) + ("cpu" in devices))


def measure_pace(
    extraction: Extraction, clock: StageClock, *, now: Now = time.perf_counter
) -> Pace | None:
    """Encode images from all over the data set, as a run does; None where none can be read."""
    count = len(extraction.annotations)
    # In any order, so that the sample has the set's mix of sizes wherever it ends.
    positions = np.random.default_rng(0).permutation(count)[:SAMPLE_IMAGES]
    warm = _warm_up(extraction, positions.tolist(), now)
    if warm is None:
        return None
    before, began = clock.seconds()[DECODE], now()
    images = regions = 0
    read = extraction.pictures.read((None, int(position)) for position in positions)
    for pictures in in_batches((each for _, each in read), warm.batch):
        good = [picture for picture in pictures if isinstance(picture, Picture)]
        _encode(extraction, good)
        images += len(good)
        regions += sum(int(extraction.plan.region_count[each.position]) for each in good)
        if images and now() - began > SAMPLE_SECONDS:
            break
    seconds, decoding = now() - began, clock.seconds()[DECODE] - before
    pace = Pace.of(seconds=seconds, decoding=decoding, images=images, regions=regions)
    return replace(pace, start=warm.compiling)


@dataclass(frozen=True)
class _Warm:
    """Result of warming up."""

    batch: int
    """Number of images of a batch."""
    compiling: float
    """Seconds that kernels took to be made."""


def _warm_up(extraction: Extraction, positions: list[int], now: Now) -> _Warm | None:
    """Encode an image, then a batch if that takes no time; until all is compiled, if it is to be.

    None where no image can be read.
    """
    read = extraction.pictures.read((None, position) for position in positions)
    good = (picture for _, picture in read if isinstance(picture, Picture))
    size = extraction.config.batch_images
    for pictures in in_batches(good, 1):
        if extraction.config.backbones.compile:
            times = [_seconds(now, extraction, pictures * size) for _ in range(BATCHES_TO_COMPILE)]
            last = _seconds(now, extraction, pictures * size)
            return _Warm(size, sum(times) - len(times) * last)
        one = _seconds(now, extraction, pictures)
        if one > 0:
            size = max(1, min(size, int(BATCH_SECONDS / one)))
        if one * size < SAMPLE_SECONDS:
            _encode(extraction, pictures * size)
        return _Warm(size, 0.0)
    return None


def _seconds(now: Now, extraction: Extraction, pictures: list[Picture]) -> float:
    began = now()
    _encode(extraction, pictures)
    return now() - began


def _encode(extraction: Extraction, pictures: list[Picture]) -> None:
    for each in extraction.encoder.begin(pictures):
        each.pending.wait()


def _class_seconds(extraction: Extraction, now: Now) -> float:
    """Return the seconds that embedding the class names takes."""
    encoder = extraction.backbones.image_text_encoder
    text = paper_text(extraction.annotations.vocabulary)
    seconds = 0.0
    for classes in (range(1), next(class_batches(text))):
        began = now()
        embed_classes(encoder, text, classes)
        seconds = (now() - began) / len(classes)
        if seconds > TEXT_SECONDS:
            break
    return seconds * len(text.words)
