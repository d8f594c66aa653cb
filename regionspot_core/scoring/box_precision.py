"""Average precision with the annotated boxes as proposals, from a cache alone."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from regionspot_core.cache.read.batch import FeatureBatch
from regionspot_core.cache.read.reader import FeatureCache
from regionspot_core.datasets.class_lists import ClassLists
from regionspot_core.datasets.table import Obstacles
from regionspot_core.scoring.figures import DETECTIONS
from regionspot_core.scoring.lvis import Measured, NamedBoxes, best_pairs, score_boxes
from regionspot_core.scoring.plan import LVIS, Protocol, ScoringPlan, plan_scoring


def plan_store_scoring(cache: FeatureCache, protocol: Protocol | None = None) -> ScoringPlan:
    """Return the rules that a store's boxes are scored by, and why.

    Raises:
        AnnotationError: If the store lacks what ``protocol`` needs.
    """
    lists = None if cache.negative is not None else "the store has no lists of absent classes"
    return plan_scoring(
        Obstacles(federated=lists),
        what=cache.stores[0].store,
        protocols=None if protocol is None else (protocol,),
        ious=("bbox",),
    )


class _ImageDetections(NamedTuple):
    """One image's R boxes, and its N best pairs of box and class."""

    image_id: int
    image: int
    """Position in the cache."""
    boxes: NDArray[np.float32]
    """(R, 4)"""
    true: NDArray[np.int64]
    """(R,)"""
    regions: NDArray[np.int32]
    """(N,)"""
    classes: NDArray[np.int32]
    """(N,)"""
    scores: NDArray[np.float32]
    """(N,)"""


class BoxPrecision:
    """Average precision of one head on a cache's images, collected batch by batch.

    Every region is a proposal that is sure: a pair of it and a class has the class's softmax
    probability as its score, and an image's best pairs are its detections.

    Args:
        cache: Cache whose regions are classified.
        images: (I,) which of its images, in the order of the batches. Those without regions may be
            left out: they have neither a box to find nor a proposal.
        limit: Number of pairs that an image keeps.
        protocol: Rules of scoring, LVIS's or COCO's; None: those that the store has all for.

    Raises:
        AnnotationError: If the store lacks what the rules need.
    """

    def __init__(
        self,
        cache: FeatureCache,
        images: NDArray[np.int64],
        *,
        limit: int = DETECTIONS,
        protocol: Protocol | None = None,
    ) -> None:
        self.plan = plan_store_scoring(cache, protocol)
        self._cache = cache
        self._limit = limit
        self._images = images
        self._detections: list[_ImageDetections] = []

    def add(self, batch: FeatureBatch, logits_BRK: torch.Tensor) -> None:
        """Add a batch of images with the logits of their regions."""
        probabilities_BRK = logits_BRK.float().softmax(-1).cpu().numpy()
        for b, image_id in enumerate(batch.image_ids.tolist()):
            real = batch.mask[b].numpy()
            scores_RK = probabilities_BRK[b][real]
            regions, classes = best_pairs(scores_RK, limit=self._limit)
            self._detections.append(
                _ImageDetections(
                    image_id=image_id,
                    image=int(self._images[len(self._detections)]),
                    boxes=batch.boxes[b].numpy()[real],
                    true=batch.classes[b].numpy()[real],
                    regions=regions.astype(np.int32),
                    classes=classes.astype(np.int32),
                    scores=scores_RK[regions, classes],
                )
            )

    def figures(self) -> Measured:
        """Return the box figures of all images, and each class's average precision."""
        # As an annotation file's images are scored, which decides between equal scores.
        detections = sorted(self._detections, key=lambda each: each.image_id)
        images = [each.image for each in detections]
        return score_boxes(
            _joined([each.boxes for each in detections], [each.true for each in detections]),
            _joined(
                [each.boxes[each.regions] for each in detections],
                [each.classes for each in detections],
            ),
            np.concatenate([each.scores for each in detections]),
            images=len(detections),
            vocabulary=self._cache.vocabulary,
            negative=_of(self._cache.negative, images) if self.plan.protocols == (LVIS,) else None,
            not_exhaustive=_of(self._cache.not_exhaustive, images),
        )


def _joined(boxes: list[NDArray[Any]], classes: list[NDArray[Any]]) -> NamedBoxes:
    owner = np.repeat(np.arange(len(boxes)), [len(each) for each in boxes])
    return NamedBoxes(owner, np.concatenate(boxes), np.concatenate(classes))


def _of(lists: ClassLists | None, images: list[int]) -> ClassLists | None:
    return None if lists is None else ClassLists.of([lists[image] for image in images])
