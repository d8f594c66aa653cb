"""Which images an evaluation's results are of, where a head had learnt from the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from regionspot_core.datasets.table import AnnotationTable
from regionspot_core.errors import InputError
from regionspot_core.support.progress import say
from regionspot_core.support.records import Record
from regionspot_evaluate.folder.folder import CACHED_RECORD, RUN_RECORD
from regionspot_evaluate.folder.json_records import read_json_record


class _Asked(Record, extra="allow"):
    annotations: str | None = None
    """SHA-256 of the annotations."""
    scored_images: list[int] | None = None
    """Ids of the images that were evaluated; None: all."""


def evaluated_images(results: Path, table: AnnotationTable) -> AnnotationTable:
    """Return the table of the images that a results file's evaluation was made of, and say so.

    That is all of them for another tool's file, and for annotations that the evaluation was not
    made with.
    """
    for name in (RUN_RECORD, CACHED_RECORD):
        path = results.with_name(name)
        if not path.is_file():
            continue
        try:
            asked = _Asked.parse(read_json_record(path), source=str(path))
        except InputError:  # another tool's file of this name
            continue
        if asked.scored_images is None or asked.annotations not in (None, table.sha256):
            continue
        kept = np.isin(table.image_id, asked.scored_images)
        if 0 < kept.sum() == len(asked.scored_images) < len(kept):
            say(f"scoring the {kept.sum():,} of {len(kept):,} images that {path} was made of")
            return table.only(kept)
    return table
