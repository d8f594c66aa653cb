"""The folder beside a file of proposals: what was asked for, and what is not written yet."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import msgspec

from regionspot_core import __version__
from regionspot_core.datasets.image_list import ImageList
from regionspot_core.distributed.journal import BatchForm, Done
from regionspot_core.distributed.journal_folder import JournalledFolder
from regionspot_core.errors import InputError
from regionspot_core.support.files import write_json, written_aside
from regionspot_core.support.records import read_json_object
from regionspot_extract.config import ProposalsConfig

RECORD = "propose.json"


@dataclass(frozen=True)
class ImageProposals:
    """The regions of one image as entries of COCO results, or why it could not be read."""

    position: int
    failed: str | None = None
    regions: list[dict[str, Any]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        return values


ProposalForm = BatchForm[ImageProposals]


@dataclass(frozen=True)
class ProposalsReport:
    """The figures of a run."""

    images: int
    """Images that are done, by all shares together."""
    left: int
    """Images that other shares are still to do."""
    failed: tuple[str, ...]
    """Images that could not be read, with the reason."""
    written: bool = False
    """Whether the file is written."""
    regions: int = 0
    """Regions in it."""

    @classmethod
    def of(cls, form: ProposalForm, done: Done) -> ProposalsReport:
        """Return the figures of what is done."""
        images = sum(len(form.batches[number]) for number in done.batches)
        return cls(images, sum(map(len, form.batches)) - images, done.failures(form))


class ProposalsFolder(JournalledFolder):
    """A folder of proposals that is new, or was asked for the same; it stays beside the file.

    Args:
        config: Settings of the command.
        listed: The images.

    Raises:
        FingerprintError: If it was asked for something else; the fields are named.
        InputError: If the file is there without the folder.
    """

    record = RECORD
    command = "`extract propose`"

    def __init__(self, config: ProposalsConfig, listed: ImageList) -> None:
        self._out = config.out
        super().__init__(config.out.with_name(f"{config.out.name}.run"), _asked(config, listed))

    @property
    def finished(self) -> bool:
        """Return whether all images are done and the file is written."""
        return self.recorded and not self.has_journals and self._out.exists()

    def report(self) -> ProposalsReport:
        """Return the figures of the finished file."""
        record = read_json_object(self.path / RECORD)
        try:
            return msgspec.convert(record.get("report"), ProposalsReport)
        except msgspec.ValidationError as error:
            raise InputError(f"{self.path / RECORD}: {error}; delete {self.path}") from None

    def write(self, form: ProposalForm, done: Done) -> None:
        """Write the file, and its figures into the record."""
        with written_aside(self._out) as aside:
            with aside.open("w", encoding="utf-8") as file:
                regions = _write_regions(file, form, done)
            report = ProposalsReport.of(form, done)
            self._write(replace(report, written=True, regions=regions))

    def _record_asked(self) -> None:
        self._write(None)

    def _require_free(self) -> None:
        if self._out.exists():
            raise InputError(f"--out {self._out}: expected a new file, this one is there already")

    def _files(self) -> tuple[Path, ...]:
        return ()

    def _write(self, report: ProposalsReport | None) -> None:
        values = {"asked": self.asked, "report": report, "version": __version__}
        write_json(self.path / RECORD, msgspec.to_builtins(values))


def _write_regions(file: IO[str], form: ProposalForm, done: Done) -> int:
    """Write COCO results, a region a line, and return the number of regions."""
    regions = 0
    file.write("[")
    for _, batch in sorted(done.batches.items()):
        for region in (region for image in batch.records(form) for region in image.regions):
            file.write(",\n" if regions else "\n")
            file.write(json.dumps(region, ensure_ascii=False))
            regions += 1
    file.write("\n]\n")
    return regions


def _asked(config: ProposalsConfig, listed: ImageList) -> dict[str, Any]:
    """Return everything that decides the regions, but for the weights, as plain values."""
    models = config.backbones
    return {
        "images": len(listed.files),
        "files_sha256": hashlib.sha256("\0".join(listed.files).encode()).hexdigest(),
        "sam": models.sam,
        "sam_input": models.sam_input,
        "precision": models.precision,
        "propose": config.propose.to_json(),
        "batch_images": config.batch_images,
    }
