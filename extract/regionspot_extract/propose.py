"""The story of `extract propose`: SAM's own regions of every image, in one file of proposals.

An extraction plans its store before any model runs, so it must know how many regions each image
has. Where SAM is to find them, they are found first, and stay for other extractions and for
`evaluate run --proposals`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import Timeout

from regionspot_core.backbones.protocols import RegionEncoder
from regionspot_core.backbones.registry import load_region_encoder
from regionspot_core.backbones.runtime import Runtime
from regionspot_core.datasets.unlabelled import ImageList, list_images
from regionspot_core.errors import ImageError, InputError
from regionspot_core.fingerprint import require_equal
from regionspot_core.imaging.boxes import xyxy_to_xywh
from regionspot_core.imaging.sources import ImageSource, open_images
from regionspot_core.imaging.transforms import Size
from regionspot_core.support.fault_points import reach
from regionspot_core.support.files import require_place_for_file, sync_to_disk, written_aside
from regionspot_core.support.locks import hold_lock
from regionspot_core.support.prefetch import in_batches, map_ahead
from regionspot_core.support.progress import progress_line
from regionspot_core.support.terminal import printable
from regionspot_extract.config import ProposalsConfig

CATEGORY = 1
"""Class of every region in the file: pycocotools wants one, and readers of proposals ask none."""


@dataclass(frozen=True)
class ProposalsReport:
    """The figures of a run."""

    images: int
    regions: int
    resumed: int
    """Images that an earlier run had done."""
    failed: tuple[str, ...]
    """Images that could not be read, with the reason."""


@dataclass(frozen=True)
class _Ready:
    """An image that SAM can take, or the reason why not."""

    place: int
    size: Size = (0, 0)
    pixels: torch.Tensor | None = None
    failed: str | None = None


def write_proposals(
    config: ProposalsConfig, *, encoder: RegionEncoder | None = None
) -> ProposalsReport:
    """Write what SAM finds into ``config.out``; run again after an interruption, it goes on.

    Args:
        config: The run's configuration.
        encoder: A loaded model to use instead of the one that ``config`` names.

    Raises:
        InputError: If an input is wrong, the file is there, or another process writes it.
        FingerprintError: If the unfinished file was begun with other images or settings.
    """
    require_place_for_file(config.out, option="--out")
    if config.out.exists():
        raise InputError(f"--out {config.out}: expected a new file, this one is there already")
    images = open_images(config.images)
    listed = list_images(images)
    with _alone(config.out) as unfinished:
        encoder = encoder or _load(config)
        journal = _Journal(unfinished, _plan(config, listed, encoder))
        resumed = journal.done
        with progress_line(
            "propose", total=len(listed.files), unit="images", start=resumed
        ) as advance:
            for batch in _batches(config, images, listed, encoder, start=resumed):
                journal.add(list(_lines(config, listed, encoder, batch)))
                advance(len(batch))
        report = journal.write(config.out, resumed)
        unfinished.unlink()
    return report


def _load(config: ProposalsConfig) -> RegionEncoder:
    models = config.backbones
    return load_region_encoder(
        models.sam,
        checkpoint=models.sam_checkpoint,
        input_size=models.sam_input,
        runtime=Runtime.create(models.device, models.precision),
    )


@contextmanager
def _alone(out: Path) -> Iterator[Path]:
    """Hold the unfinished file of ``out``, and yield its path."""
    path = out.with_name(f"{out.name}.lock")
    try:
        lock = hold_lock(path, timeout=0)
    except Timeout:
        raise InputError(f"--out {out}: another process is writing it; wait for it") from None
    try:
        yield out.with_name(f"{out.name}.unfinished")
    finally:
        path.unlink(missing_ok=True)
        lock.release()


def _plan(config: ProposalsConfig, listed: ImageList, encoder: RegionEncoder) -> dict[str, Any]:
    """Return everything that decides the regions, as plain values."""
    return {
        "images": len(listed.files),
        "files_sha256": hashlib.sha256("\0".join(listed.files).encode()).hexdigest(),
        "model": encoder.fingerprint(),
        "precision": config.backbones.precision,
        "propose": config.propose.to_json(),
        "batch_images": config.batch_images,
    }


def _batches(
    config: ProposalsConfig,
    images: ImageSource,
    listed: ImageList,
    encoder: RegionEncoder,
    *,
    start: int,
) -> Iterator[list[_Ready]]:
    """Yield images that are read ahead in threads, as many as SAM takes together."""

    def read(place: int) -> _Ready:
        name = listed.files[place]
        try:
            # Boxes are of the pixels as stored, which a size asks for: an extraction counts so.
            size = images.size(name)
            pixels = images.read(name, size=size, max_pixels=config.max_pixels)
        except ImageError as error:
            return _Ready(place, failed=printable(str(error)))
        return _Ready(place, size, encoder.prepare(pixels))

    read_ahead = map_ahead(read, range(start, len(listed.files)), workers=config.workers)
    return in_batches(read_ahead, config.batch_images)


@torch.inference_mode()
def _lines(
    config: ProposalsConfig, listed: ImageList, encoder: RegionEncoder, batch: list[_Ready]
) -> Iterator[dict[str, Any]]:
    """Yield the journal's line of each image."""
    pixels = [image.pixels for image in batch if image.pixels is not None]
    embeddings = encoder.embed(pixels) if pixels else None
    row = 0
    for image in batch:
        if embeddings is None or image.pixels is None:
            yield {"failed": image.failed, "regions": []}
            continue
        found = encoder.propose(embeddings[row : row + 1], image.size, config.propose)
        row += 1
        image_id = int(listed.ids[image.place]) if listed.are_numbers else listed.files[image.place]
        boxes = xyxy_to_xywh(found.boxes).tolist()
        yield {
            "regions": [
                {
                    "image_id": image_id,
                    "category_id": CATEGORY,
                    "bbox": [round(value, 2) for value in box],
                    "score": round(float(score), 6),
                    "segmentation": mask,
                }
                for box, score, mask in zip(boxes, found.scores, found.masks, strict=True)
            ]
        }


class _Journal:
    """An unfinished file of proposals: its plan, then a line an image, in their order.

    Raises:
        FingerprintError: If it was begun with another plan.
        InputError: If what is there is no such file.
    """

    def __init__(self, path: Path, plan: dict[str, Any]) -> None:
        self._path = path
        self.done = 0
        """Number of images that have a line."""
        if not path.exists():
            self._append([plan])
            return
        read = whole = 0
        with path.open("rb+") as file:
            for number, line in enumerate(file):
                if not line.endswith(b"\n"):
                    break  # its process was killed as it wrote
                if number == 0:
                    self._require_plan(line, plan)
                read += len(line)
                # Only whole batches are kept: an image's last bits depend on its batch's others.
                if number % plan["batch_images"] == 0 or number == plan["images"]:
                    whole, self.done = read, number
            file.truncate(whole)
        if not whole:
            self._append([plan])

    def add(self, lines: list[dict[str, Any]]) -> None:
        """Add images' lines; a kill loses none that was added."""
        self._append(lines)
        reach("proposed batch", len(lines))

    def write(self, out: Path, resumed: int) -> ProposalsReport:
        """Write the finished file."""
        regions, failed = 0, list[str]()
        with self._path.open("rb") as lines, written_aside(out) as partial:
            next(lines)
            with partial.open("w", encoding="utf-8") as file:
                file.write("[")
                for line in map(json.loads, lines):
                    for region in line["regions"]:
                        file.write(",\n" if regions else "\n")
                        file.write(json.dumps(region, ensure_ascii=False))
                        regions += 1
                    if line.get("failed"):
                        failed.append(line["failed"])
                file.write("\n]\n")
        return ProposalsReport(self.done, regions, resumed, tuple(failed))

    def _append(self, lines: list[dict[str, Any]]) -> None:
        with self._path.open("ab") as file:
            file.write(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
            file.flush()
            sync_to_disk(file.fileno(), self._path)
        self.done += sum("regions" in line for line in lines)

    def _require_plan(self, line: bytes, plan: dict[str, Any]) -> None:
        try:
            before = json.loads(line)
        except ValueError:
            before = None
        if not isinstance(before, dict):
            raise InputError(f"{self._path}: expected an unfinished file of proposals; delete it")
        require_equal(
            json.loads(json.dumps(plan)),
            before,
            what=f"{self._path} was begun otherwise than this run would go on",
            advice="Choose another --out, or delete it",
        )
