"""What an evaluation found in one image, as a journal keeps it until all images are done."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regionspot_evaluate.baselines.names import BaselineName
from regionspot_evaluate.classification import true_ranks
from regionspot_evaluate.detections import ScoredPairs
from regionspot_evaluate.proposals import Proposals


@dataclass(frozen=True)
class Answer:
    """What one head, or a baseline, says of an image's R regions."""

    pairs: ScoredPairs
    best: list[int]
    """R most probable classes."""
    confidence: list[float]
    """R probabilities of these."""
    ranks: list[int]
    """R places of the true class, as :func:`~regionspot_evaluate.classification.true_ranks`."""

    @classmethod
    def create(
        cls,
        proposals: Proposals,
        scores_RK: NDArray[np.floating],
        probabilities_RK: NDArray[np.floating],
        *,
        limit: int,
    ) -> Answer:
        """From scores, of which probabilities are the softmax; the best ``limit`` pairs stay."""
        return cls(
            ScoredPairs.best(proposals, probabilities_RK, limit=limit),
            scores_RK.argmax(axis=1).tolist(),
            probabilities_RK.max(axis=1, initial=0).tolist(),
            true_ranks(scores_RK, proposals.classes).tolist(),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        pairs = self.pairs
        return {
            "pairs": [pairs.regions, pairs.classes, pairs.scores],
            "best": self.best,
            "confidence": self.confidence,
            "ranks": self.ranks,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Answer:
        """From what :meth:`to_json` gave, equal to the last bit."""
        return cls(
            ScoredPairs(*values["pairs"]), values["best"], values["confidence"], values["ranks"]
        )


@dataclass(frozen=True)
class ImageRecord:
    """One image: what was said of it, or why it could not be read."""

    position: int
    """In the annotation set."""
    failed: str | None = None
    boxes: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 4), dtype=np.float32))
    """(R, 4) xyxy, original pixels"""
    true: list[int] = field(default_factory=list)
    """R class indices, -1 where not known."""
    masks: list[dict[str, Any] | None] = field(default_factory=list)
    """R run-length encodings; None where nothing wants one."""
    heads: list[Answer] = field(default_factory=list)
    baselines: dict[BaselineName, Answer] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        if self.failed is not None:
            return {"position": self.position, "failed": self.failed}
        return {
            "position": self.position,
            "boxes": self.boxes.tolist(),
            "true": self.true,
            "masks": self.masks,
            "heads": [answer.to_json() for answer in self.heads],
            "baselines": {name: answer.to_json() for name, answer in self.baselines.items()},
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> ImageRecord:
        """From what :meth:`to_json` gave, equal to the last bit."""
        if "failed" in values:
            return cls(values["position"], values["failed"])
        return cls(
            position=values["position"],
            boxes=np.array(values["boxes"], dtype=np.float32).reshape(-1, 4),
            true=values["true"],
            masks=values["masks"],
            heads=[Answer.from_json(answer) for answer in values["heads"]],
            baselines={
                name: Answer.from_json(answer) for name, answer in values["baselines"].items()
            },
        )
