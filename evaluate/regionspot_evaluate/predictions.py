"""Classifying the proposals of a data set's images, batch by batch, into a journal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from regionspot_core.backbones.loading import Backbones, PreparedImage
from regionspot_core.datasets.record import AnnotationSet
from regionspot_core.errors import ImageError
from regionspot_core.fingerprint import Fingerprint
from regionspot_core.imaging.prompts import BoxPrompts
from regionspot_core.imaging.sources import ImageSource
from regionspot_core.imaging.transforms import RGBImage
from regionspot_evaluate.config import EvaluateConfig
from regionspot_evaluate.folder.records import Answer, ImageRecord
from regionspot_evaluate.pictures import REGIONS_SHOWN
from regionspot_evaluate.proposals.boxes import Proposals
from regionspot_evaluate.recognition.baselines.names import BASELINE_TABLE, BaselineName
from regionspot_evaluate.recognition.baselines.protocol import Baseline
from regionspot_evaluate.recognition.image_regions import EncodedImage, SegmentedRegions, show
from regionspot_evaluate.recognition.recognizer import Recognizer
from regionspot_evaluate.scoring.unknown import learnt_scores


@dataclass(frozen=True)
class ReadImage:
    """An image that was read, or the reason why it could not be."""

    prepared: PreparedImage | None = None
    """Inputs of the frozen models; None for an image that could not be read."""
    pixels: RGBImage | None = None
    """Kept where something needs them."""
    failed: str | None = None


@dataclass(frozen=True)
class Classifiers:
    """Everything that names the proposals of a data set.

    The heads share the frozen models' work. Without proposals, SAM finds regions by itself.
    """

    config: EvaluateConfig
    images: ImageSource
    annotations: AnnotationSet
    proposals: list[Proposals] | None
    backbones: Backbones
    heads: tuple[Recognizer, ...]
    learnt: tuple[NDArray[np.bool_], ...]
    """(K,) whether each head learnt from a region of each class."""
    baselines: dict[BaselineName, Baseline]
    """Baselines of the evaluation, and those that heads' scores are joined with."""

    @property
    def models(self) -> Fingerprint:
        """Return the fingerprint of the frozen models."""
        return self.backbones.fingerprint

    def read(self, position: int) -> ReadImage:
        """Decode and resize an image; any thread may."""
        name, size = self.annotations.image_file[position], self.annotations.size(position)
        try:
            pixels = self.images.read(name, size=size, max_pixels=self.config.max_pixels)
        except ImageError as error:
            return ReadImage(failed=f"{name}: {self.images.reason(name, error)}")
        keep_pixels = any(BASELINE_TABLE[name].takes_pixels for name in self.baselines)
        return ReadImage(self.heads[0].prepare(pixels), pixels if keep_pixels else None)

    def records(self, read: dict[int, ReadImage]) -> list[ImageRecord]:
        """Classify every proposal of a batch with every head and baseline.

        An image that cannot be read is recorded with the reason.
        """
        records = {
            position: ImageRecord(position, failed=image.failed)
            for position, image in read.items()
            if image.failed is not None
        }
        prepared = {p: image.prepared for p, image in read.items() if image.prepared is not None}
        encoded = self.heads[0].encode_prepared(list(prepared.values()))
        regions = [
            self._segment(image, None if self.proposals is None else self.proposals[position])
            for position, image in zip(prepared, encoded, strict=True)
        ]
        segmented = [each.segmented for each in regions]
        shown = [
            show(image, each, read[position].pixels)
            for position, image, each in zip(prepared, encoded, segmented, strict=True)
        ]
        opinions = {
            name: [baseline.probabilities(each) for each in shown]
            for name, baseline in self.baselines.items()
        }
        recognitions = [head.classify(encoded, segmented, opinions) for head in self.heads]
        limit = self.config.limit
        for n, (position, each) in enumerate(zip(prepared, regions, strict=True)):
            answers = [
                Answer.create(
                    each.proposals,
                    of_head[n].logits,
                    of_head[n].probabilities,
                    limit=limit,
                    known_R=learnt_scores(torch.from_numpy(of_head[n].own_logits), learnt_K),
                )
                for of_head, learnt_K in zip(recognitions, self.learnt, strict=True)
            ]
            baselines = {
                name: Answer.create(each.proposals, shares, shares, limit=limit)
                for name, shares in ((name, opinions[name][n]) for name in self.config.baselines)
            }
            records[position] = _record(position, each, answers, baselines)
        return [records[position] for position in read]

    def _segment(self, image: EncodedImage, known: Proposals | None) -> _Regions:
        """Segment an image's proposals; without any, the regions that SAM finds by itself."""
        if known is not None:
            return _Regions(known, self.heads[0].segment(image, BoxPrompts(known.boxes)))
        segmented = self.heads[0].segment_everything(image, self.config.propose)
        return _Regions(Proposals.from_sam(segmented), segmented)


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
