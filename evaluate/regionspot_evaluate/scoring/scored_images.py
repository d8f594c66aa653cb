"""Which images evaluations' results are of, where a head had learnt from the others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from regionspot_core.datasets.table import AnnotationTable
from regionspot_core.errors import InputError
from regionspot_core.support.progress import say
from regionspot_core.support.records import Int64, Record
from regionspot_evaluate.folder.folder import CACHED_RECORD, RUN_RECORD
from regionspot_evaluate.folder.json_records import read_json_record


class _Asked(Record, extra="ignore"):
    scored_images: list[Int64] | None = None
    """Ids of the images that were evaluated; None: all."""


def evaluated_images(results: Sequence[Path], table: AnnotationTable) -> AnnotationTable:
    """Return the table of the images that all of these were evaluated on, and say so.

    Another tool's results file counts as of all images; detections of other images in it are left
    out where it is read.

    Args:
        results: Results files.
        table: The annotations.

    Raises:
        InputError: If no image was evaluated by all, or a record is damaged.
    """
    records = dict[Path, list[int]]()
    for record, image_ids in filter(None, map(_record_beside, results)):
        if 0 < np.isin(table.image_id, image_ids).sum() < len(table.image_id):
            records[record] = image_ids
    if not records:
        return table
    kept = np.all([np.isin(table.image_id, ids) for ids in records.values()], axis=0)
    names = " and ".join(map(str, records))
    if not kept.any():
        raise InputError(f"{names}: expected evaluations of the same images, got none in common")
    was = "was" if len(records) == 1 else "were"
    say(f"scoring the {kept.sum():,} of {len(kept):,} images that {names} {was} made of")
    return table.only(kept)


def _record_beside(results: Path) -> tuple[Path, list[int]] | None:
    """Return the record of the evaluation that left a results file, and its images; None: all."""
    for name in (RUN_RECORD, CACHED_RECORD):
        path = results.with_name(name)
        if not path.is_file():
            continue
        try:
            values = read_json_record(path)
        except InputError:  # another tool's file of this name
            continue
        asked = _Asked.parse(values, source=str(path))
        if asked.scored_images is not None:
            return path, asked.scored_images
    return None
