"""Naming the regions of pictures batch by batch, into a journal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from regionspot_core.backbones.loading import Backbones
from regionspot_core.errors import ImageError
from regionspot_core.fingerprint import Fingerprint
from regionspot_core.imaging.drawing import draw_regions
from regionspot_core.imaging.transforms import RGBImage
from regionspot_core.support.lettering import Lettering
from regionspot_core.support.optional_picture import optional_picture
from regionspot_evaluate.config import PredictConfig
from regionspot_evaluate.predicting.folder import DRAWN
from regionspot_evaluate.predicting.listing import PictureList
from regionspot_evaluate.predicting.named_regions import NamedRegion, PictureRecord, named_regions
from regionspot_evaluate.predicting.regions import FindRegions, FoundRegions, recognise
from regionspot_evaluate.predictions import ReadImage
from regionspot_evaluate.recognition.image_regions import Recognition
from regionspot_evaluate.recognition.recognizer import Recognizer


@dataclass(frozen=True)
class Namer:
    """Everything that names the regions of a list of pictures."""

    config: PredictConfig
    listed: PictureList
    backbones: Backbones
    recognizer: Recognizer
    find: FindRegions
    lettering: Lettering
    """Fonts that have the letters of the class names."""
    threshold: float | None = None
    """Least score of a region that has one of the names; None: all have one."""

    @property
    def models(self) -> Fingerprint:
        """Return the fingerprint of the frozen models."""
        return self.backbones.fingerprint

    def read(self, position: int) -> ReadImage:
        """Decode and resize a picture; any thread may."""
        try:
            image = self.listed.pictures[position].read(self.config.max_pixels)
        except ImageError as error:
            return ReadImage(failed=str(error))
        return ReadImage(self.recognizer.prepare(image), image if self.config.draw else None)

    def records(self, read: dict[int, ReadImage]) -> list[PictureRecord]:
        """Name the regions of a batch's pictures, and draw them where that is asked for.

        A picture that cannot be read is recorded with the reason; the records have masks only where
        these are wanted.
        """
        named = self._named(read)
        if self.config.segmentation:
            return named
        return [
            replace(each, regions=tuple(replace(region, mask=None) for region in each.regions))
            for each in named
        ]

    def name_picture(self, image: RGBImage) -> PictureRecord:
        """Return the named regions of the list's first picture, which is decoded already."""
        return self._named({0: ReadImage(self.recognizer.prepare(image))})[0]

    def _named(self, read: dict[int, ReadImage]) -> list[PictureRecord]:
        """Return the records of pictures, by position, that the models take together."""
        prepared = {p: each.prepared for p, each in read.items() if each.prepared is not None}
        recognised = recognise(self.recognizer, list(prepared.values()), self.find, prepared)
        records = {p: PictureRecord(p, failed=each.failed) for p, each in read.items()}
        for position, (regions, recognition) in zip(prepared, recognised, strict=True):
            record = self._record(position, regions, recognition, prepared[position].size)
            image = read[position].pixels
            if image is not None:
                self._draw(position, image, record)
            records[position] = record
        return list(records.values())

    def _record(
        self, position: int, found: FoundRegions, recognition: Recognition, size: tuple[int, int]
    ) -> PictureRecord:
        regions = named_regions(
            found.prompt,
            recognition,
            self.recognizer.vocabulary.names,
            self.config.top,
            found.detector_scores,
            threshold=self.threshold,
        )
        if found.prompt == "auto":
            regions.sort(key=lambda region: -region.names[0][1])
        return PictureRecord.create(
            position, size, regions, least=self.config.least, overlapping=found.overlapping
        )

    def _draw(self, position: int, image: RGBImage, record: PictureRecord) -> None:
        path = self.config.out / DRAWN / self.listed.drawn_names[position]
        draw_named(path, image, record.regions, self.lettering)


def draw_named(
    path: Path, image: RGBImage, regions: Sequence[NamedRegion], lettering: Lettering
) -> None:
    """Draw a picture's regions with their best names; go on where that cannot be done."""
    with optional_picture(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_regions(
            path,
            image,
            boxes=np.array([region.box for region in regions]).reshape(-1, 4),
            masks=[region.mask for region in regions],
            labels=[region.label for region in regions],
            lettering=lettering,
        )
