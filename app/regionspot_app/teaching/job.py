"""One lesson: what a head is taught from, and what came of it. Nothing heavy is imported here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from regionspot_core.support.records import Record

JOB, FIGURES, ANNOTATIONS = "job.json", "figures.json", "labels.json"
HEAD = "head"
PARTS = ("learnt", "held-out")
"""Parts of the pictures; each has annotations and a store."""
HELD_OUT = 0.25
"""Share of the pictures that the lesson is measured on."""
LEAST_PICTURES = 3


class Job(Record):
    """A lesson in a folder of its own."""

    pictures: Path
    """Folder that the annotations' file names start from."""
    start_from: Path
    """Head that is taught."""
    caches: tuple[str, ...] = ()
    """Stores that are learnt from beside the corrections, so that less is forgotten."""
    backbones: dict[str, Any]
    """Settings of the frozen models."""
    steps: int = Field(default=150, ge=1, le=100_000)
