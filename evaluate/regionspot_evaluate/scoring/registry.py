"""The table of protocols: their names on the command line, and what scores by each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Protocol as TypingProtocol

from regionspot_core.scoring.plan import COCO, LVIS, LVIS_FIXED
from regionspot_evaluate.scoring.figures import Iou, Package, Protocol, Score

if TYPE_CHECKING:  # NumPy and pycocotools, which a wrong argument need not wait for
    from pathlib import Path

    from regionspot_core.datasets.table import AnnotationTable
    from regionspot_core.datasets.truth import Truth
    from regionspot_evaluate.scoring.results import Results


class Scorer(TypingProtocol):
    """Scorer of results files over one annotation table."""

    truth: Truth
    """The annotations that results are read for and scored against."""

    def score_all(
        self,
        detections: Path | Results,
        *,
        ious: Sequence[Iou],
        protocols: Sequence[Protocol],
    ) -> dict[Protocol, dict[Iou, Score]]:
        """Return the scores of a results file, which is read once.

        Args:
            detections: The file, or its columns.
            ious: Kinds of region to score: boxes, masks or both.
            protocols: Protocols to score by.

        Raises:
            AnnotationError: If the file is missing or malformed, or has a detection that
                cannot be scored.
        """
        ...


@dataclass(frozen=True)
class ScorerEntry:
    """Scorer of one protocol, or of several."""

    create: Callable[[AnnotationTable, Sequence[Iou], Package], Scorer]
    """Function that makes it over annotations, for the kinds of region that will be scored.

    Raises:
        AnnotationError: If the annotations lack something that the scorer needs.
    """
    has_reference: bool = False
    """Whether the protocol has a package of its own, which `--check` can compare with."""


def _lvis(table: AnnotationTable, ious: Sequence[Iou], package: Package) -> Scorer:
    from regionspot_evaluate.scoring.scorer import LvisScorer

    return LvisScorer(table, scorer=package, ious=ious)


def _coco(table: AnnotationTable, ious: Sequence[Iou], package: Package) -> Scorer:
    from regionspot_evaluate.scoring.scorer import CocoScorer

    return CocoScorer(table, scorer=package, ious=ious)


_LVIS = ScorerEntry(_lvis, has_reference=True)
PROTOCOL_TABLE: dict[Protocol, ScorerEntry] = {
    LVIS: _LVIS,
    LVIS_FIXED: _LVIS,
    COCO: ScorerEntry(_coco, has_reference=True),
}


def register_scorer(name: Protocol, entry: ScorerEntry) -> None:
    """Add a protocol's scorer to the table; ``--protocol NAME`` then takes it."""
    PROTOCOL_TABLE[name] = entry


def require_protocol(name: Protocol) -> Protocol:
    """Return the name of a protocol of the table.

    Raises:
        ValueError: If it is none; the message has the names that there are.
    """
    if name not in PROTOCOL_TABLE:
        *names, last = PROTOCOL_TABLE
        raise ValueError(f"expected protocol {', '.join(names)} or {last}, got {name!r}")
    return name
