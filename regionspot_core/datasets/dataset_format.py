"""A format of annotation files, as the registry keeps it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from regionspot_core.datasets.table import AnnotationTable
from regionspot_core.datasets.vocabulary import Vocabulary
from regionspot_core.imaging.sources import ImageSource


class ReadTable(Protocol):
    """A format's reader of annotations."""

    def __call__(self, path: Path, *, images: ImageSource | None, masks: bool) -> AnnotationTable:
        """Read the file ``path``; ``images`` are its images, if they are known.

        Raises:
            AnnotationError: If the file is missing or malformed.
        """
        ...


@dataclass(frozen=True)
class DatasetFormat:
    """One format: how its annotation file is found and read."""

    name: str
    suffixes: tuple[str, ...]
    """Endings of its annotation files, in small letters."""
    find: Callable[[Path], Path | None]
    """Function from what a user gives, a file or folder, to the annotation file; None where it is
    not of this format."""
    read: ReadTable
    read_vocabulary: Callable[[Path], Vocabulary]
    """Function from the annotation file to its classes alone."""
