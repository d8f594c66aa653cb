"""LVIS average precision of results files over one annotation file."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from regionspot_core.datasets.reading import read_table
from regionspot_core.datasets.table import AnnotationTable
from regionspot_core.scoring.lvis import named_figures
from regionspot_evaluate.scoring.fast import departure, score_fast
from regionspot_evaluate.scoring.figures import (
    BOTH,
    LVIS_PROTOCOLS,
    Iou,
    Package,
    Protocol,
    Score,
)
from regionspot_evaluate.scoring.reference import ReferenceScorer
from regionspot_evaluate.scoring.results import Results, read_entries, read_results
from regionspot_evaluate.scoring.selection import count_detections, kept_detections


class LvisScorer:
    """LVIS's scorers over one annotation table, checked once.

    Args:
        annotations: LVIS annotation JSON, or its table.
        scorer: ``fast`` is hotcoco, and the ``lvis`` package where hotcoco's figures would differ
            from its; ``reference`` always that one.
        ious: Kinds of region that will be scored; masks are kept in memory for ``segm`` only.

    Raises:
        AnnotationError: If the file is missing or malformed, or lacks LVIS's federated lists or
            frequencies.
    """

    def __init__(
        self,
        annotations: Path | AnnotationTable,
        *,
        scorer: Package = "fast",
        ious: Sequence[Iou] = BOTH,
    ) -> None:
        if isinstance(annotations, Path):
            annotations = read_table(annotations, masks="segm" in ious)
        self.truth = annotations.truth(federated=True)
        self._scorer = scorer

    def score(self, detections: Path, *, iou: Iou, protocol: Protocol = "lvis") -> Score:
        """Score an LVIS results file.

        Raises:
            AnnotationError: If the file is missing, malformed or empty, or has a detection that
                cannot be scored.
        """
        return self.score_all(detections, ious=(iou,), protocols=(protocol,))[protocol][iou]

    def score_all(
        self,
        detections: Path | Results,
        *,
        ious: Sequence[Iou],
        protocols: Sequence[Protocol] = ("lvis",),
        may_be_empty: bool = False,
    ) -> dict[Protocol, dict[Iou, Score]]:
        """Score boxes and masks by several protocols; the file is read once.

        Args:
            detections: The file, or its columns.
            ious: Kinds of region to score.
            protocols: Protocols to score by.
            may_be_empty: Whether a file without detections is a result too.
        """
        if "segm" in ious:
            self.truth.require_masks()
        results = detections
        if isinstance(results, Path):
            results = read_results(results, self.truth, ious=ious, may_be_empty=may_be_empty)
        return {protocol: self._scores(results, ious, protocol) for protocol in protocols}

    def _scores(
        self, results: Results, ious: Sequence[Iou], protocol: Protocol
    ) -> dict[Iou, Score]:
        kept = kept_detections(results, protocol)
        counts = count_detections(self.truth, results, kept)
        why = departure(self.truth, results, kept) if self._scorer == "fast" else None
        # LVIS's package fails on no detections, where nothing can differ.
        fast = (self._scorer == "fast" and why is None) or not len(results.image)
        entries = [] if fast else read_entries(results.path, self.truth, ious=ious)
        scores: dict[Iou, Score] = {}
        for iou in ious:
            if fast:
                values = score_fast(self.truth, results, kept, iou=iou)
            else:
                copies = list(map(dict, entries))  # the package adds to them
                found = self._reference.score(copies, iou=iou, protocol=protocol)
                values = named_figures(found)
            scores[iou] = Score(
                iou=iou,
                values=values,
                protocol=LVIS_PROTOCOLS[protocol],
                scorer="fast" if fast else "reference",
                package="hotcoco" if fast else "lvis",
                counts=counts,
                fallback=None if fast else why,
            )
        return scores

    @cached_property
    def _reference(self) -> ReferenceScorer:
        return ReferenceScorer(self.truth.path)
