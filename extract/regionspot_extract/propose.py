"""The story of `extract propose`: SAM's own regions of every image, in one file of proposals.

An extraction plans its store before any model runs, so it must know how many regions each image
has. Where SAM is to find them, they are found first, and stay for other extractions and for
`evaluate run --proposals`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch

from regionspot_core.backbones.protocols import ImageEmbeddings, RegionEncoder
from regionspot_core.backbones.registry import load_region_encoder
from regionspot_core.backbones.runtime import Runtime
from regionspot_core.datasets.image_list import ImageList, list_images
from regionspot_core.distributed.journal import WHOLE, BatchForm
from regionspot_core.distributed.work import Work, image_batches
from regionspot_core.errors import ImageError
from regionspot_core.fingerprint import Fingerprint
from regionspot_core.imaging.boxes import xyxy_to_xywh
from regionspot_core.imaging.sources import ImageSource, open_images
from regionspot_core.imaging.transforms import Size
from regionspot_core.support.files import require_place_for_file
from regionspot_extract.config import ProposalsConfig
from regionspot_extract.proposals_folder import (
    ImageProposals,
    ProposalsFolder,
    ProposalsReport,
)

CATEGORY = 1
"""Class of every region in the file: pycocotools wants one, and readers of proposals ask none."""


def write_proposals(
    config: ProposalsConfig, *, encoder: RegionEncoder | None = None
) -> ProposalsReport:
    """Write what SAM finds into ``config.out``; run again after an interruption, it goes on.

    A share of the images is only searched; the whole, 1/1, writes the file.

    Args:
        config: The run's configuration.
        encoder: A loaded model to use instead of the one that ``config`` names.

    Raises:
        InputError: If an input is wrong, the file is there and not of such a run, or another
            process is at work on it.
        FingerprintError: If the file, finished or not, was begun with other images or settings.
    """
    require_place_for_file(config.out, option="--out")
    images = open_images(config.images)
    listed = list_images(images)
    folder = ProposalsFolder(config, listed)
    if config.retry_failed:
        folder.take_up()
    form = BatchForm(ImageProposals, image_batches(len(listed.files), config.batch_images))
    work = Work("propose", "image", folder, form, config.retry_failed, config.workers)
    load = partial(_load, config, images, listed, encoder)
    if config.shard == WHOLE or folder.finished:
        work.finish(load, partial(folder.write, form))
        return folder.report()
    with work.named(config.shard, load) as done:
        return folder.report() if done is None else ProposalsReport.of(form, done)


@dataclass(frozen=True)
class _Proposer:
    """SAM, and the images in which it looks for regions."""

    config: ProposalsConfig
    images: ImageSource
    listed: ImageList
    encoder: RegionEncoder

    @property
    def models(self) -> Fingerprint:
        return self.encoder.fingerprint()

    def read(self, position: int) -> _Ready:
        name = self.listed.files[position]
        try:
            # Boxes are of the pixels as stored, which a size asks for: an extraction counts so.
            size = self.images.size(name)
            pixels = self.images.read(name, size=size, max_pixels=self.config.max_pixels)
        except ImageError as error:
            return _Ready(failed=f"{name}: {self.images.reason(name, error)}")
        return _Ready(size, self.encoder.prepare(pixels))

    @torch.inference_mode()
    def records(self, read: dict[int, _Ready]) -> list[ImageProposals]:
        pixels = [image.pixels for image in read.values() if image.pixels is not None]
        embeddings = self.encoder.embed(pixels) if pixels else None
        records, row = list[ImageProposals](), 0
        for position, image in read.items():
            if embeddings is None or image.pixels is None:
                records.append(ImageProposals(position, image.failed))
                continue
            regions = self._regions(position, image.size, embeddings[row : row + 1])
            records.append(ImageProposals(position, regions=list(regions)))
            row += 1
        return records

    def _regions(
        self, position: int, size: Size, embedding: ImageEmbeddings
    ) -> Iterator[dict[str, Any]]:
        """Yield one image's regions as entries of COCO results."""
        found = self.encoder.propose(embedding, size, self.config.propose)
        listed = self.listed
        name = int(listed.ids[position]) if listed.are_numbers else listed.files[position]
        boxes = xyxy_to_xywh(found.boxes).tolist()
        for box, score, mask in zip(boxes, found.scores, found.masks, strict=True):
            yield {
                "image_id": name,
                "category_id": CATEGORY,
                "bbox": [round(value, 2) for value in box],
                "score": round(float(score), 6),
                "segmentation": mask,
            }


class _Ready(NamedTuple):
    """An image that SAM can take, or the reason why not."""

    size: Size = (0, 0)
    pixels: torch.Tensor | None = None
    failed: str | None = None


def _load(
    config: ProposalsConfig, images: ImageSource, listed: ImageList, encoder: RegionEncoder | None
) -> _Proposer:
    models = config.backbones
    encoder = encoder or load_region_encoder(
        models.sam,
        checkpoint=models.sam_checkpoint,
        input_size=models.sam_input,
        runtime=Runtime.create(models.device, models.precision),
    )
    return _Proposer(config, images, listed, encoder)
