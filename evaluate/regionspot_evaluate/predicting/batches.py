"""Naming the regions of pictures batch by batch, into a journal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from regionspot_core.backbones.loading import Backbones, PreparedImage
from regionspot_core.errors import ImageError
from regionspot_core.imaging.drawing import draw_regions
from regionspot_core.imaging.transforms import RGBImage
from regionspot_core.support.lettering import Lettering
from regionspot_core.support.optional_picture import optional_picture
from regionspot_core.support.prefetch import map_ahead
from regionspot_core.support.progress import Advance
from regionspot_evaluate.config import PredictConfig
from regionspot_evaluate.folder.journal import Journal
from regionspot_evaluate.predicting.folder import DRAWN
from regionspot_evaluate.predicting.listing import PictureList
from regionspot_evaluate.predicting.named_regions import NamedRegion, PictureRecord, named_regions
from regionspot_evaluate.predicting.regions import FindRegions, FoundRegions, recognise
from regionspot_evaluate.recognition.recognizer import Recognition, Recognizer


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

    def name_batches(self, batches: dict[int, range], journal: Journal, advance: Advance) -> None:
        """Name the regions of the batches' pictures, and draw them where that is asked for.

        A picture that cannot be read is recorded with the reason.
        """
        positions = [position for batch in batches.values() for position in batch]
        read = map_ahead(self._read, positions, workers=self.config.workers)
        for number, batch in batches.items():
            records = self._records(dict(zip(batch, islice(read, len(batch)), strict=True)))
            journal.add(number, [self._kept(records[position]) for position in batch])
            advance(len(batch))

    def name_picture(self, image: RGBImage) -> PictureRecord:
        """Return the named regions of the list's first picture, which is decoded already."""
        read = _ReadPicture(self.backbones.prepare(image))
        return self._records({0: read})[0]

    def _read(self, position: int) -> _ReadPicture:
        """Decode and resize a picture, in a thread."""
        try:
            image = self.listed.pictures[position].read(self.config.max_pixels)
        except ImageError as error:
            return _ReadPicture(failed=str(error))
        return _ReadPicture(self.backbones.prepare(image), image if self.config.draw else None)

    def _records(self, read: dict[int, _ReadPicture]) -> dict[int, PictureRecord]:
        """Return the records of pictures, by position, that the models take together."""
        prepared = {p: each.prepared for p, each in read.items() if each.prepared is not None}
        recognised = recognise(self.recognizer, list(prepared.values()), self.find, prepared)
        records = {p: PictureRecord(p, failed=each.failed) for p, each in read.items()}
        for position, (regions, recognition) in zip(prepared, recognised, strict=True):
            record = self._record(position, regions, recognition, prepared[position].size)
            image = read[position].image
            if image is not None:
                self._draw(position, image, record)
            records[position] = record
        return records

    def _kept(self, record: PictureRecord) -> PictureRecord:
        """Return a record as the journal keeps it: without masks where nothing wants them."""
        if self.config.segmentation:
            return record
        return replace(record, regions=tuple(replace(r, mask=None) for r in record.regions))

    def _record(
        self, position: int, found: FoundRegions, recognition: Recognition, size: tuple[int, int]
    ) -> PictureRecord:
        regions = named_regions(
            found.prompt,
            recognition,
            self.recognizer.vocabulary.names,
            self.config.top,
            found.detector_scores,
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
            labels=[f"{region.names[0][0]} {region.names[0][1]:.0%}" for region in regions],
            lettering=lettering,
        )


class _ReadPicture(NamedTuple):
    prepared: PreparedImage | None = None
    image: RGBImage | None = None
    """Pixels, where the picture is to be drawn."""
    failed: str | None = None
