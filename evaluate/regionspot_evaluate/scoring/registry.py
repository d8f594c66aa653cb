"""The table of scorers: their names on the command line, and what each needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Protocol as TypingProtocol

from regionspot_evaluate.scoring.figures import Iou, Protocol, Score, ScorerName

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
        protocols: Sequence[Protocol] = ("standard",),
        may_be_empty: bool = False,
    ) -> dict[Protocol, dict[Iou, Score]]:
        """Return the scores of a results file, which is read once.

        Args:
            detections: The file, or its columns.
            ious: Kinds of region to score: boxes, masks or both.
            protocols: Protocols to score by.
            may_be_empty: Whether a file without detections is a result too.

        Raises:
            AnnotationError: If the file is missing, malformed or empty, or has a detection that
                cannot be scored.
        """
        ...


@dataclass(frozen=True)
class ScorerEntry:
    """One scorer of the table."""

    create: Callable[[AnnotationTable, Sequence[Iou]], Scorer]
    """Function that makes it over annotations, for the kinds of region that will be scored.

    Raises:
        AnnotationError: If the annotations lack something that the scorer needs.
    """
    protocols: tuple[Protocol, ...] = ("standard",)
    """Protocols that it can score by."""
    has_reference: bool = False
    """Whether LVIS's own package measures the same figures, so that `--check` can compare them."""


def _lvis(name: ScorerName) -> Callable[[AnnotationTable, Sequence[Iou]], Scorer]:
    def create(table: AnnotationTable, ious: Sequence[Iou]) -> Scorer:
        from regionspot_evaluate.scoring.scorer import LvisScorer

        return LvisScorer(table, scorer=name, ious=ious)

    return create


def _coco(table: AnnotationTable, ious: Sequence[Iou]) -> Scorer:
    from regionspot_evaluate.scoring.coco import CocoScorer

    return CocoScorer(table, ious=ious)


SCORER_TABLE: dict[ScorerName, ScorerEntry] = {
    "fast": ScorerEntry(_lvis("fast"), ("standard", "fixed"), has_reference=True),
    "lvis": ScorerEntry(_lvis("lvis"), ("standard", "fixed"), has_reference=True),
    "coco": ScorerEntry(_coco),
}


def register_scorer(name: ScorerName, entry: ScorerEntry) -> None:
    """Add a scorer to the table; ``--scorer NAME`` then takes it."""
    SCORER_TABLE[name] = entry


def require_scorer(name: ScorerName, protocols: Sequence[Protocol]) -> None:
    """Refuse a scorer that is not in the table, or that lacks a protocol.

    Raises:
        ValueError: With the names that there are, or the protocols that the scorer has.
    """
    if name not in SCORER_TABLE:
        *names, last = SCORER_TABLE
        raise ValueError(f"expected scorer {', '.join(names)} or {last}, got {name!r}")
    known = SCORER_TABLE[name].protocols
    if not set(protocols) <= set(known):
        raise ValueError(f"expected protocol {' or '.join(known)} with scorer {name}")
