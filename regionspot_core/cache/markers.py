"""Commit markers: one small JSON file a part, written last. A part without one does not exist."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from regionspot_core.cache.plan import CachePlan, Part
from regionspot_core.cache.schema import PARTS, shard_file
from regionspot_core.errors import CacheDamagedError
from regionspot_core.files import write_json


@dataclass(frozen=True)
class FailedImage:
    """An image that could not be read. Its rows in the store are zeros; readers leave it out."""

    position: int
    file: str
    reason: str


@dataclass(frozen=True)
class Marker:
    """What a finished part holds."""

    part: int
    images: int
    """Images with tokens, failed ones not counted."""
    regions: int
    failed: tuple[FailedImage, ...]
    sha256: dict[str, str]
    """Of each shard file, by array name; an array the part wrote nothing to is missing."""


def marker_path(store: Path, part: int) -> Path:
    """Where the part's marker is, or will be."""
    return store / PARTS / f"{part:06d}.json"


def write_marker(store: Path, marker: Marker) -> None:
    """Commit a part: the marker is on the disk, whole, or not there."""
    write_json(marker_path(store, marker.part), asdict(marker))


def read_marker(store: Path, part: int) -> Marker | None:
    """The part's marker, or None where the part is not committed.

    Raises:
        CacheDamagedError: The marker is there but unreadable.
    """
    path = marker_path(store, part)
    try:
        values = json.loads(path.read_bytes())
        failed = tuple(FailedImage(**image) for image in values.pop("failed"))
        return Marker(**values, failed=failed)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CacheDamagedError(
            f"{path}: the part's commit marker is damaged ({error}); delete it and run the same "
            f"extraction again to redo this part"
        ) from None


def read_markers(store: Path, plan: CachePlan) -> list[Marker | None]:
    """The marker of every part, None where it is not committed."""
    return [read_marker(store, part) for part in range(plan.part_count)]


def shard_checksums(store: Path, part: Part, names: list[str]) -> dict[str, str]:
    """SHA-256 of the part's shard files that exist."""
    checksums = {}
    for name in names:
        path = shard_file(store, name, part.index)
        if path.exists():
            with path.open("rb") as file:
                checksums[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return checksums
