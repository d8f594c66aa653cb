"""Which images evaluations' results are of, where a head had learnt from the others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from regionspot_core.datasets.table import AnnotationTable
from regionspot_core.errors import CheckpointError, InputError
from regionspot_core.heads.checkpoint import read_record
from regionspot_core.support.progress import say
from regionspot_core.support.records import Int64, Record
from regionspot_core.support.tables import counted
from regionspot_evaluate.folder.folder import CACHED_RECORD, RUN_RECORD
from regionspot_evaluate.folder.json_records import read_json_record


class _Configuration(Record, extra="ignore"):
    head: str | None = None
    """Absolute path of the head's folder."""


class _Asked(Record, extra="ignore"):
    scored_images: list[Int64] | None = None
    """Ids of the images that were evaluated; None: all."""
    configuration: _Configuration = _Configuration()


def evaluated_images(results: Sequence[Path], table: AnnotationTable) -> AnnotationTable:
    """Return the table of the images that all of these were evaluated on, and say so.

    A line warns of images that a run's head learnt from, where the head is still there.

    Another tool's results file counts as of all images; detections of other images in it are left
    out where it is read.

    Args:
        results: Results files.
        table: The annotations.

    Raises:
        InputError: If no image was evaluated by all, or a record is damaged.
    """
    found = dict(filter(None, map(_record_beside, results)))
    scored = _scored_by_all(found, table)
    for record, asked in found.items():
        _warn_of_remembered(record, asked.configuration.head, scored)
    return scored


def _scored_by_all(found: dict[Path, _Asked], table: AnnotationTable) -> AnnotationTable:
    records = {
        record: asked.scored_images
        for record, asked in found.items()
        if asked.scored_images is not None
        and 0 < np.isin(table.image_id, asked.scored_images).sum() < len(table.image_id)
    }
    if not records:
        return table
    kept = np.all([np.isin(table.image_id, ids) for ids in records.values()], axis=0)
    names = " and ".join(map(str, records))
    if not kept.any():
        raise InputError(f"{names}: expected evaluations of the same images, got none in common")
    was = "was" if len(records) == 1 else "were"
    say(f"scoring the {kept.sum():,} of {len(kept):,} images that {names} {was} made of")
    return table.only(kept)


def _warn_of_remembered(record: Path, head: str | None, table: AnnotationTable) -> None:
    try:
        training = read_record(Path(head)) if head is not None else None
    except (CheckpointError, OSError, ValueError):  # it is elsewhere now
        return
    count = 0
    if training is not None:
        count = int(training.images_learnt_from(table.sha256, table.image_id).sum())
    if count:
        say(
            f"{record}: its head learnt from {count:,} of these "
            f"{counted(len(table.image_id), 'image')}: the figures tell what was remembered, not "
            f"how well new images are named"
        )


def _record_beside(results: Path) -> tuple[Path, _Asked] | None:
    """Return the record of the evaluation that left a results file, and where it lies."""
    for name in (RUN_RECORD, CACHED_RECORD):
        path = results.with_name(name)
        if not path.is_file():
            continue
        try:
            values = read_json_record(path)
        except InputError:  # another tool's file of this name
            continue
        return path, _Asked.parse(values, source=str(path))
    return None
