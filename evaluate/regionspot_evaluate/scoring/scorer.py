"""Average precision of results files over one annotation table, by LVIS's rules or by COCO's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from regionspot_core.datasets.reading import read_table
from regionspot_core.datasets.table import AnnotationTable
from regionspot_core.scoring.lvis import Measured
from regionspot_core.scoring.plan import COCO, LVIS
from regionspot_evaluate.scoring.coco_reference import CocoReference
from regionspot_evaluate.scoring.fast import departure, score_fast
from regionspot_evaluate.scoring.figures import (
    BOTH,
    PROTOCOL_TITLES,
    Iou,
    Package,
    Protocol,
    Score,
)
from regionspot_evaluate.scoring.package_data import package_detections
from regionspot_evaluate.scoring.reference import ReferenceScorer
from regionspot_evaluate.scoring.results import Results, read_entries, read_results
from regionspot_evaluate.scoring.selection import count_detections, kept_detections


class ResultsScorer(ABC):
    """Scorer of one kind of rules over one annotation table, checked once.

    Args:
        annotations: An annotation file, or its table.
        scorer: ``fast`` is hotcoco, and the rules' own package where hotcoco's figures would differ
            from its; ``reference`` always that one.
        ious: Kinds of region that will be scored; masks are kept in memory for ``segm`` only.

    Raises:
        AnnotationError: If the file is missing or malformed, or lacks something that the rules
            need.
    """

    federated: ClassVar[bool]
    """Whether the rules need LVIS's lists."""
    protocols: ClassVar[tuple[Protocol, ...]]
    """Protocols that are scored by where none is asked for."""
    reference: ClassVar[str]
    """Name of the rules' own package."""

    def __init__(
        self,
        annotations: Path | AnnotationTable,
        *,
        scorer: Package = "fast",
        ious: Sequence[Iou] = BOTH,
    ) -> None:
        if isinstance(annotations, Path):
            annotations = read_table(annotations, masks="segm" in ious)
        self.truth = annotations.truth(federated=self.federated)
        self._scorer = scorer

    def score(self, detections: Path, *, iou: Iou, protocol: Protocol | None = None) -> Score:
        """Score a results file.

        Raises:
            AnnotationError: If the file is missing or malformed, or has a detection that cannot be
                scored.
        """
        protocols = self.protocols if protocol is None else (protocol,)
        return self.score_all(detections, ious=(iou,), protocols=protocols)[protocols[0]][iou]

    def score_all(
        self,
        detections: Path | Results,
        *,
        ious: Sequence[Iou],
        protocols: Sequence[Protocol] | None = None,
    ) -> dict[Protocol, dict[Iou, Score]]:
        """Score boxes and masks by several protocols; the file is read once.

        Args:
            detections: The file, or its columns.
            ious: Kinds of region to score.
            protocols: Protocols to score by; None: the rules' usual one.
        """
        if "segm" in ious:
            self.truth.require_masks()
        results = detections
        if isinstance(results, Path):
            results = read_results(results, self.truth, ious=ious)
        return {
            protocol: self._scores(results, ious, protocol)
            for protocol in protocols or self.protocols
        }

    def _scores(
        self, results: Results, ious: Sequence[Iou], protocol: Protocol
    ) -> dict[Iou, Score]:
        kept = kept_detections(results, protocol)
        counts = count_detections(self.truth, results, kept)
        why = departure(self.truth, results, kept) if self._scorer == "fast" else None
        # LVIS's package fails on no detections, where nothing can differ.
        fast = (self._scorer == "fast" and why is None) or not len(results.image)
        found = (
            {iou: score_fast(self.truth, results, kept, iou=iou) for iou in ious}
            if fast
            else self._by_reference(results, ious, protocol)
        )
        return {
            iou: Score(
                iou=iou,
                values=found[iou].values,
                class_ap_K=found[iou].class_ap_K,
                protocol=PROTOCOL_TITLES[protocol],
                scorer="fast" if fast else "reference",
                package="hotcoco" if fast else self.reference,
                counts=counts,
                fallback=None if fast else why,
            )
            for iou in ious
        }

    @abstractmethod
    def _by_reference(
        self, results: Results, ious: Sequence[Iou], protocol: Protocol
    ) -> dict[Iou, Measured]:
        """Return the figures that the rules' own package finds."""


class LvisScorer(ResultsScorer):
    """LVIS's rules, of both protocols."""

    federated = True
    protocols = (LVIS,)
    reference = "lvis"

    def _by_reference(
        self, results: Results, ious: Sequence[Iou], protocol: Protocol
    ) -> dict[Iou, Measured]:
        entries = read_entries(results.path, self.truth, ious=ious)
        return {
            # A copy, since the package adds to the entries.
            iou: self._reference.score([*map(dict, entries)], iou=iou, protocol=protocol)
            for iou in ious
        }

    @cached_property
    def _reference(self) -> ReferenceScorer:
        return ReferenceScorer(self.truth)


class CocoScorer(ResultsScorer):
    """COCO's rules, for annotations with LVIS's lists and without them."""

    federated = False
    protocols = (COCO,)
    reference = "pycocotools"

    def _by_reference(
        self, results: Results, ious: Sequence[Iou], protocol: Protocol
    ) -> dict[Iou, Measured]:
        entries = package_detections(self.truth, results)
        return {iou: self._reference.score([*map(dict, entries)], iou=iou) for iou in ious}

    @cached_property
    def _reference(self) -> CocoReference:
        return CocoReference(self.truth)
