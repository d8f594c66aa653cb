"""Average precision of a results file: LVIS's by two protocols, and COCO's."""

from regionspot_evaluate.scoring.figures import Iou, Protocol, Score, ScorerName
from regionspot_evaluate.scoring.scorer import LvisScorer

__all__ = ["Iou", "LvisScorer", "Protocol", "Score", "ScorerName"]
