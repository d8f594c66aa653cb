"""Naming the proposals of a whole data set, detections written as they come."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from regionspot_core.datasets import AnnotationSet
from regionspot_core.errors import ImageError
from regionspot_core.images import read_image
from regionspot_core.prefetch import in_batches, map_ahead
from regionspot_core.progress import progress_line
from regionspot_core.prompts import BoxPrompts
from regionspot_core.transforms import RGBImage
from regionspot_core.vocabulary import Vocabulary
from regionspot_evaluate.classification import RegionNaming
from regionspot_evaluate.clip_crop import ClipCrop
from regionspot_evaluate.config import EvaluateConfig
from regionspot_evaluate.detections import DETECTIONS, ResultsFile, image_detections
from regionspot_evaluate.gallery import Picture
from regionspot_evaluate.proposals import Proposals
from regionspot_evaluate.recognizer import Recognition, Recognizer

BASELINE_DETECTIONS = "baseline_clip_crop.json"


@dataclass
class Predictions:
    """What was said, beside the two results files."""

    top1: RegionNaming
    baseline_top1: RegionNaming
    pictures: list[Picture] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    without_proposals: int = 0
    """Images with nothing to name."""


def predict(
    config: EvaluateConfig,
    annotations: AnnotationSet,
    proposals: list[Proposals] | None,
    recognizer: Recognizer,
    baseline: ClipCrop | None,
) -> Predictions:
    """Name every proposal with the head, and where asked with CLIP-on-crop, into results files.

    Without proposals, SAM finds an image's regions by itself. An image that cannot be read is
    recorded and gets no detections.
    """
    vocabulary = annotations.vocabulary
    predictions = Predictions(RegionNaming(vocabulary), RegionNaming(vocabulary))
    shown = _shown_images(len(annotations), config.gallery)
    with (
        ResultsFile(config.out / DETECTIONS) as head_results,
        nullcontext()
        if baseline is None
        else ResultsFile(config.out / BASELINE_DETECTIONS) as baseline_results,
        progress_line("evaluate", total=len(annotations), unit="images") as advance,
    ):
        for batch in in_batches(_read(config, annotations), config.batch_images):
            good = [(i, image) for i, image in batch if not isinstance(image, ImageError)]
            predictions.failed += [str(bad) for _, bad in batch if isinstance(bad, ImageError)]
            encoded = recognizer.encode([image for _, image in good])
            for (i, image), seen in zip(good, encoded, strict=True):
                image_id = int(annotations.image_id[i])
                if proposals is None:
                    recognition = recognizer.recognize_everything(seen, config.propose)
                    known = Proposals.from_sam(recognition)
                else:
                    known = proposals[i]
                    recognition = recognizer.recognize(seen, BoxPrompts(known.boxes))
                predictions.without_proposals += not len(known.boxes)
                entries = partial(
                    image_detections,
                    image_id,
                    known,
                    vocabulary=vocabulary,
                    limit=min(config.pairs, config.detections),
                )
                head_results.add(entries(recognition.probabilities, masks=recognition.masks))
                predictions.top1.add(recognition.logits, known.classes)
                if baseline is not None and baseline_results is not None:
                    crop_probabilities = baseline.probabilities(image, known.boxes)
                    baseline_results.add(entries(crop_probabilities))
                    predictions.baseline_top1.add(crop_probabilities, known.classes)
                if i in shown and len(known.boxes):
                    predictions.pictures.append(_picture(image, known, recognition, vocabulary))
            advance(len(batch))
    return predictions


def _read(
    config: EvaluateConfig, annotations: AnnotationSet
) -> Iterator[tuple[int, RGBImage | ImageError]]:
    def read(i: int) -> tuple[int, RGBImage | ImageError]:
        path: Path = config.images / annotations.image_file[i]
        try:
            return i, read_image(path, size=annotations.size(i))
        except ImageError as error:
            return i, error

    return map_ahead(read, range(len(annotations)), workers=config.workers)


def _shown_images(count: int, shown: int) -> frozenset[int]:
    return frozenset(np.linspace(0, count - 1, min(count, shown)).astype(int).tolist())


def _picture(
    image: RGBImage, proposals: Proposals, recognition: Recognition, vocabulary: Vocabulary
) -> Picture:
    best = recognition.logits.argmax(axis=1)
    true = proposals.classes.tolist()
    return Picture(
        image=image,
        boxes=proposals.boxes,
        masks=recognition.masks,
        said=[vocabulary.names[index] for index in best],
        confidence=recognition.probabilities.max(axis=1).tolist(),
        true=[vocabulary.names[index] if index >= 0 else None for index in true],
        rare=[index >= 0 and vocabulary.frequencies[index] == "r" for index in true],
    )
