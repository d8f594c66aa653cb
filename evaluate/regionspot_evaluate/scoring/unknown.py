"""How well a head tells the classes that it was taught from all others."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from regionspot_core.heads.unknown_classes import auroc, known_scores
from regionspot_evaluate.scoring.report import percent


@dataclass(frozen=True)
class UnknownFigures:
    """Regions of classes that a head learnt, against those of classes that it did not."""

    auroc: float
    """Area under the ROC curve, a share of 1: 0.5 is chance."""
    known_regions: int
    unknown_regions: int

    @property
    def line(self) -> str:
        """Return one line for people."""
        return (
            f"AUROC of known against unknown classes {percent(self.auroc)} %: "
            f"{self.known_regions:,} regions of classes that it learnt, {self.unknown_regions:,} "
            f"of others, by the largest logit among the learnt names"
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def learnt_scores(
    logits_RK: torch.Tensor, learnt_K: NDArray[np.bool_]
) -> NDArray[np.float32] | None:
    """Return (R,) how surely a region is one of the names that a head learnt.

    Args:
        logits_RK: The head's own logits.
        learnt_K: Whether it learnt from a region of each class. If from none, there is no score.
    """
    if not learnt_K.any():
        return None
    return known_scores(logits_RK[:, torch.from_numpy(learnt_K)]).numpy()


class UnknownClasses:
    """Scores of regions where the learnt classes alone have names, collected batch by batch.

    Args:
        learnt_K: Whether the head learnt from a region of each class.
    """

    def __init__(self, learnt_K: NDArray[np.bool_]) -> None:
        self._learnt_K = learnt_K
        self._scores: list[NDArray[np.float32]] = []
        self._known: list[NDArray[np.bool_]] = []

    def add(self, logits_RK: torch.Tensor, classes_R: NDArray[np.integer]) -> None:
        """Add R regions; those with class -1 are not known and left aside.

        Args:
            logits_RK: The head's own logits.
            classes_R: True classes.
        """
        labelled = classes_R >= 0
        scores = learnt_scores(logits_RK[torch.from_numpy(labelled)], self._learnt_K)
        if scores is not None:
            self.add_scores(scores, classes_R[labelled])

    def add_scores(self, scores_R: ArrayLike, classes_R: ArrayLike) -> None:
        """Add R regions of known classes by their :func:`learnt_scores`."""
        self._scores.append(np.asarray(scores_R, dtype=np.float32))
        self._known.append(self._learnt_K[np.asarray(classes_R, dtype=np.int64)])

    def figures(self) -> UnknownFigures | None:
        """Return the figures; None unless regions of both kinds were added."""
        if not self._scores:
            return None
        scores, known = np.concatenate(self._scores), np.concatenate(self._known)
        if known.all() or not known.any():
            return None
        found = auroc(scores[known], scores[~known])
        return UnknownFigures(found, int(known.sum()), int((~known).sum()))
