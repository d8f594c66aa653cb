"""ODinW: a folder a data set and split, each with one JSON file of COCO's layout."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from regionspot_core.datasets.coco import read_coco, read_coco_vocabulary
from regionspot_core.datasets.dataset_format import DatasetFormat
from regionspot_core.errors import AnnotationError

PREFERRED = ("annotations_without_background.json", "_annotations.coco.json")
"""ODinW's own file, then Roboflow's, from which ODinW was made."""


def find_odinw(folder: Path) -> Path | None:
    """Return the annotation file of an ODinW folder, of one data set and split.

    Returns:
        None for a file, and for a folder without any.

    Raises:
        AnnotationError: If the folder has several files of which none is preferred, or holds the
            folders of several data sets.
    """
    if not folder.is_dir():
        return None
    for name in PREFERRED:
        if (folder / name).is_file():
            return folder / name
    files = sorted(folder.glob("*.json"))
    if len(files) > 1:
        raise AnnotationError(
            f"{folder}: holds {len(files)} JSON files; give one of them "
            f"({', '.join(path.name for path in files[:3])}, …)"
        )
    if not files:
        _refuse_several(folder)
        return None
    return files[0]


def _refuse_several(folder: Path) -> None:
    # The first few only: there may be thousands of folders.
    deeper = islice((path for name in PREFERRED for path in folder.rglob(name)), 4)
    names = sorted({str(path.parent.relative_to(folder)) for path in deeper})
    if names:
        raise AnnotationError(
            f"{folder}: expected the folder of one data set, got one that holds several; give one "
            f"of them ({', '.join(names[:3])}, …)"
        )


ODINW = DatasetFormat("ODinW", (".json",), find_odinw, read_coco, read_coco_vocabulary)
