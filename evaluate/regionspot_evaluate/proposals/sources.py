"""Where proposals come from: the annotations, a detector's file, or SAM itself."""

from __future__ import annotations

from pathlib import Path

from regionspot_core.datasets.record import AnnotationSet
from regionspot_core.errors import AnnotationError
from regionspot_core.support.tables import counted
from regionspot_evaluate.config import AUTOMATIC, GROUND_TRUTH
from regionspot_evaluate.proposals.boxes import Proposals
from regionspot_evaluate.proposals.files import read_proposals


def load_proposals(source: str, annotations: AnnotationSet) -> list[Proposals] | None:
    """Return the proposals of every image, in the annotations' order; None for ``auto``.

    Args:
        source: ``gt``, ``auto``, or the path of a file that
            :func:`~regionspot_evaluate.proposals.files.read_proposals` reads.
        annotations: The images, and the boxes for ``gt``.

    Raises:
        AnnotationError: If the file is missing or malformed, names an unknown image, or proposes
            nothing; or for ``gt`` no image has a box.
    """
    if source == AUTOMATIC:
        return None
    proposals = _load(source, annotations)
    if not any(len(each.boxes) for each in proposals):
        where = annotations.path if source == GROUND_TRUTH else source
        raise AnnotationError(
            f"{where}: expected boxes to name, got none for any of the "
            f"{counted(len(annotations), 'image')}"
        )
    return proposals


def _load(source: str, annotations: AnnotationSet) -> list[Proposals]:
    if source == GROUND_TRUTH:
        return [Proposals.from_annotations(annotations, i) for i in range(len(annotations))]
    return read_proposals(Path(source), annotations)
