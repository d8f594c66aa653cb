"""ODinW: a folder a data set and split, each with one JSON file of COCO's layout."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from regionspot_core.errors import AnnotationError

PREFERRED = ("annotations_without_background.json", "_annotations.coco.json")
"""ODinW's own file, then Roboflow's, from which ODinW was made."""


def find_odinw(folder: Path) -> Path:
    """The annotation file of an ODinW folder: of one data set and split.

    Raises:
        AnnotationError: The folder has none, has several of which none is preferred, or holds the
            folders of several data sets.
    """
    for name in PREFERRED:
        if (folder / name).is_file():
            return folder / name
    found = sorted(folder.glob("*.json"))
    if len(found) > 1:
        raise AnnotationError(
            f"{folder}: holds {len(found)} JSON files; give one of them "
            f"({', '.join(path.name for path in found[:3])}, …)"
        )
    if not found:
        raise _nothing_here(folder)
    return found[0]


def _nothing_here(folder: Path) -> AnnotationError:
    # The first few only: there may be thousands of folders.
    deeper = islice((path for name in PREFERRED for path in folder.rglob(name)), 4)
    names = sorted({str(path.parent.relative_to(folder)) for path in deeper})
    if names:
        return AnnotationError(
            f"{folder}: expected the folder of one data set, got one that holds several; give one "
            f"of them ({', '.join(names[:3])}, …)"
        )
    return AnnotationError(
        f"{folder}: expected an annotation file, got a folder without one (OpenImages' CSV of "
        f"boxes, or the JSON of an ODinW data set)"
    )
