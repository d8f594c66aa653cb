"""A file of findings beside a head: sealed by a checksum, and for that head's weights alone."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from regionspot_core.errors import CheckpointError
from regionspot_core.heads.checkpoint import weights_sum
from regionspot_core.support.checksums import SEAL, FileSum, is_sealed, sealed
from regionspot_core.support.files import written_aside
from regionspot_core.support.records import Record, json_object, read_small


class HeadFile(Record):
    """Content of such a file; a subclass adds its format and what was found."""

    head: FileSum
    """Weights of the head that it is for."""


Kind = TypeVar("Kind", bound=HeadFile)


def write_sealed(path: Path, file: HeadFile) -> None:
    """Write a file beside a head, whole or not at all."""
    with written_aside(path) as partial:
        partial.write_bytes(sealed(file.model_dump(mode="json")))


def read_sealed(path: Path, kind: type[Kind], *, off: str) -> Kind | None:
    """Return the content of a file beside a head; None where there is none.

    Args:
        path: The file, in the head's folder.
        kind: Form of its content.
        off: Option that leaves the file aside, for messages.

    Raises:
        CheckpointError: If it is damaged, or of another head.
    """
    try:
        content = read_small(path, error=CheckpointError)
    except (FileNotFoundError, NotADirectoryError):
        return None
    advice = f"run `regionspot evaluate tune` again, or leave it aside with {off}"
    values = json_object(content, str(path), error=CheckpointError)
    values.pop(SEAL, None)
    if not is_sealed(values, content):
        raise CheckpointError(
            f"{path}: damaged, it is not, byte for byte, what was written; {advice}"
        )
    file = kind.parse(values, source=str(path), error=CheckpointError)
    if file.head != weights_sum(path.parent):
        raise CheckpointError(
            f"{path}: it was tuned for other weights than the head beside it has; {advice}"
        )
    return file
