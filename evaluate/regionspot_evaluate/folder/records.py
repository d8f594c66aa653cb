"""What an evaluation found in one image, as a journal keeps it until all images are done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from regionspot_core.datasets.record import AnnotationSet
from regionspot_core.distributed.journal import BatchForm
from regionspot_core.distributed.work import image_batches
from regionspot_evaluate.config import EvaluateConfig
from regionspot_evaluate.folder.detections import ScoredPairs
from regionspot_evaluate.proposals.boxes import Proposals
from regionspot_evaluate.recognition.baselines.names import BaselineName
from regionspot_evaluate.scoring.classification import true_ranks
from regionspot_evaluate.scoring.run_lengths import are_run_lengths


@dataclass(frozen=True)
class Answer:
    """Classes that one head, or a baseline, gives an image's R regions."""

    pairs: ScoredPairs
    best: list[int]
    """R most probable classes."""
    confidence: list[float]
    """R probabilities of these."""
    ranks: list[int]
    """R places of the true class (``true_ranks`` of `scoring/classification.py`)."""
    known: list[float] = field(default_factory=list)
    """R scores of a region's being one of the names that a head learnt (``learnt_scores`` of
    `scoring/unknown.py`); none of a baseline, or where no true class is known."""

    @classmethod
    def create(
        cls,
        proposals: Proposals,
        scores_RK: NDArray[np.floating],
        probabilities_RK: NDArray[np.floating],
        *,
        limit: int,
        known_R: NDArray[np.float32] | None = None,
    ) -> Answer:
        """Return the answer that scores and their softmax give, with ``limit`` pairs.

        Args:
            proposals: R regions.
            scores_RK: Scores.
            probabilities_RK: Their softmax.
            limit: Number of pairs that are kept.
            known_R: Scores of a region's being one of the names that a head learnt, if any.
        """
        if known_R is None or (proposals.classes < 0).all():
            known_R = np.zeros(0, dtype=np.float32)
        return cls(
            ScoredPairs.best(proposals, probabilities_RK, limit=limit),
            scores_RK.argmax(axis=1).tolist(),
            probabilities_RK.max(axis=1, initial=0).tolist(),
            true_ranks(scores_RK, proposals.classes).tolist(),
            known_R.tolist(),
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        pairs = self.pairs
        return {
            "pairs": [pairs.regions, pairs.classes, pairs.scores],
            "best": self.best,
            "confidence": self.confidence,
            "ranks": self.ranks,
            "known": self.known,
        }


@dataclass(frozen=True)
class ImageRecord:
    """Answers for one image, or the reason why it could not be read."""

    position: int
    """Position in the annotation set."""
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
        """Return plain values."""
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


@dataclass(frozen=True)
class RecordForm:
    """Form that the records of one evaluation must have."""

    annotations: AnnotationSet
    batches: Sequence[range]
    """The positions of each batch's images."""
    heads: int
    baselines: tuple[BaselineName, ...]

    @classmethod
    def create(cls, config: EvaluateConfig, annotations: AnnotationSet) -> RecordForm:
        """Return the form of ``config``'s records."""
        batches = image_batches(len(annotations), config.batch_images)
        return cls(annotations, batches, len(config.heads), config.baselines)

    def parse(self, line: bytes, batch: int) -> list[ImageRecord]:
        """Read the records of a batch, equal to the last bit to those that were written.

        Args:
            line: JSON with ``images``, a list of what :meth:`ImageRecord.to_json` gave.
            batch: The batch's number.

        Raises:
            ValueError: If the line does not have this form, or does not fit the evaluation.
        """
        images = BatchForm(_Image, self.batches).parse(line, batch)
        return [self._record(image) for image in images]

    def _record(self, image: _Image) -> ImageRecord:
        if image.failed is not None:
            return ImageRecord(image.position, image.failed)
        regions, classes = len(image.boxes), len(self.annotations.vocabulary)
        _require(len(image.true) == len(image.masks) == regions, "a value a region")
        _require_within(image.true, -1, classes, "true classes")
        _require(len(image.heads) == self.heads, f"the answers of {self.heads} heads")
        _require(image.baselines.keys() == set(self.baselines), "the answers of the baselines")
        for answer in (*image.heads, *image.baselines.values()):
            _require_fit(answer, regions, classes)
            _require(all(image.masks[r] is not None for r in answer.pairs[0]), "a mask a detection")
        self._require_masks([mask for mask in image.masks if mask is not None], image.position)
        return ImageRecord(
            position=image.position,
            boxes=np.array(image.boxes, dtype=np.float32).reshape(-1, 4),
            true=image.true,
            masks=[None if mask is None else _rle(mask) for mask in image.masks],
            heads=[_answer(answer) for answer in image.heads],
            baselines={name: _answer(image.baselines[name]) for name in self.baselines},
        )

    def _require_masks(self, masks: list[_Mask], position: int) -> None:
        """Refuse masks of another size, and run lengths that pycocotools could not draw."""
        height, width = self.annotations.size(position)
        _require(all(mask.size == (height, width) for mask in masks), "masks of the image's size")
        texts = [mask.counts.encode("utf-8", "replace") for mask in masks]
        start = np.cumsum([0, *map(len, texts)]).astype(np.int64)
        counts = np.frombuffer(b"".join(texts), dtype=np.uint8)
        pixels = np.full(len(masks), height * width, dtype=np.int64)
        _require(bool(are_run_lengths(counts, start, pixels).all()), "run lengths of masks")


class _Mask(msgspec.Struct):
    size: tuple[int, int]
    counts: str


class _Answer(msgspec.Struct):
    pairs: tuple[list[int], list[int], list[float]]
    best: list[int]
    confidence: list[float]
    ranks: list[int]
    known: list[float] = []


class _Image(msgspec.Struct):
    position: int
    failed: str | None = None
    boxes: list[tuple[float, float, float, float]] = []
    true: list[int] = []
    masks: list[_Mask | None] = []
    heads: list[_Answer] = []
    baselines: dict[BaselineName, _Answer] = {}


def _rle(mask: _Mask) -> dict[str, Any]:
    return {"size": list(mask.size), "counts": mask.counts}


def _answer(answer: _Answer) -> Answer:
    return Answer(
        ScoredPairs(*answer.pairs), answer.best, answer.confidence, answer.ranks, answer.known
    )


def _require_fit(answer: _Answer, regions: int, classes: int) -> None:
    """Refuse an answer that is not of so many regions and classes."""
    of_pair, class_of_pair, scores = answer.pairs
    _require(len(of_pair) == len(class_of_pair) == len(scores), "pairs of region and class")
    _require_within(of_pair, 0, regions, "regions")
    _require_within(class_of_pair, 0, classes, "classes")
    each = (answer.best, answer.confidence, answer.ranks, answer.known or answer.ranks)
    _require(all(len(values) == regions for values in each), "a value a region")
    _require_within(answer.best, 0, classes, "classes")
    _require_within(answer.ranks, -1, classes, "ranks")


def _require_within(values: list[int], least: int, end: int, what: str) -> None:
    if values and not (least <= min(values) and max(values) < end):
        raise ValueError(f"expected {what} from {least} to {end - 1}")


def _require(fits: bool, what: str) -> None:
    if not fits:
        raise ValueError(f"expected {what}")
