"""Scoring by all rules that are asked for, or by those that follow from the annotations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from regionspot_core.datasets.table import AnnotationTable
from regionspot_core.datasets.truth import Truth
from regionspot_core.scoring.plan import plan_scoring
from regionspot_core.scoring.training_groups import TrainingGroups, group_precision
from regionspot_evaluate.scoring.figures import Iou, Package, Protocol, Score
from regionspot_evaluate.scoring.registry import PROTOCOL_TABLE, Scorer
from regionspot_evaluate.scoring.results import Results


class TableScorer:
    """Scorers of one annotation table, one for each kind of rules.

    Args:
        table: The annotations.
        protocols: Protocols to score by; None: the one that the annotations have all for.
        ious: Kinds of region to score; None: boxes, and masks where every annotation has one.
        package: Package that scores.

    Raises:
        AnnotationError: If the annotations lack what is asked for.
    """

    def __init__(
        self,
        table: AnnotationTable,
        *,
        protocols: Sequence[Protocol] | None = None,
        ious: Sequence[Iou] | None = None,
        package: Package = "fast",
    ) -> None:
        classes = sorted(zip(table.classes.ids, table.classes.names, strict=True))
        self._names = [name for _, name in classes]
        self.plan = plan_scoring(table.obstacles, what=table.path, protocols=protocols, ious=ious)
        of_entry: dict[int, list[Protocol]] = defaultdict(list)  # one scorer may have several
        for name in self.plan.protocols:
            of_entry[id(PROTOCOL_TABLE[name])].append(name)
        self._scorers: list[tuple[Scorer, list[Protocol]]] = [
            (PROTOCOL_TABLE[names[0]].create(table, self.plan.ious, package), names)
            for names in of_entry.values()
        ]

    @property
    def truth(self) -> Truth:
        """Annotations that results are scored against."""
        return self._scorers[0][0].truth

    def score(self, detections: Path | Results) -> dict[Protocol, dict[Iou, Score]]:
        """Return the scores of a results file, which each kind of rules reads once, or its columns.

        Raises:
            AnnotationError: If the file is missing or malformed, or has a detection that cannot be
                scored.
        """
        scores: dict[Protocol, dict[Iou, Score]] = {}
        for scorer, protocols in self._scorers:
            scores |= scorer.score_all(detections, ious=self.plan.ious, protocols=protocols)
        return {name: scores[name] for name in self.plan.protocols}

    def groups(
        self, scores: dict[Protocol, dict[Iou, Score]], counts: Mapping[str, int] | None
    ) -> dict[Protocol, dict[Iou, TrainingGroups]]:
        """Return average precision by how often a head saw the classes in its training.

        Args:
            scores: Scores of :meth:`score`.
            counts: Training regions by class name. None, and then there are no groups: the head
                does not say.
        """
        if counts is None:
            return {}
        return {
            protocol: {
                iou: group_precision(self._names, score.class_ap_K, counts)
                for iou, score in of_ious.items()
                if score.class_ap_K is not None
            }
            for protocol, of_ious in scores.items()
        }
