"""Heads as they lie in their folders, and the names that they are asked about first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regionspot_app.config import AppConfig
from regionspot_app.workbench.texts import require_names
from regionspot_core.datasets.vocabulary import Vocabulary
from regionspot_core.datasets.vocabulary_files import load_vocabulary
from regionspot_core.errors import InputError
from regionspot_core.heads.checkpoint import HeadRecord, read_record, weights_sum
from regionspot_core.region_tokens import EmbeddingSource
from regionspot_core.support.checksums import FileSum
from regionspot_evaluate.recognition.head_fusion import HeadFusion, choose_fusion
from regionspot_evaluate.recognition.head_names import head_names
from regionspot_evaluate.recognition.image_regions import Recognition
from regionspot_evaluate.recognition.unknown_threshold import choose_threshold


@dataclass(frozen=True)
class HeadSource:
    """One head as it lies in its folder."""

    name: str
    folder: Path
    record: HeadRecord
    fusion: HeadFusion | None
    threshold: float | None
    """Least score, its largest logit, of a region that has one of the names; None: all have one."""
    sum: FileSum
    """Of its weights."""

    @property
    def learnt(self) -> list[str]:
        """Return the names of the classes that it learnt, those with the most regions first."""
        counts = self.record.training_counts() or {}
        return sorted(filter(counts.get, counts), key=lambda name: (-counts[name], name))

    def none_of_these(self, found: Recognition, least: float = 0.0) -> NDArray[np.bool_]:
        """Return (R,) whether none of the names fits a region, as `evaluate predict` says it.

        Args:
            found: What this head calls R regions.
            least: Probability of the best name below which none fits either.
        """
        none: NDArray[np.bool_] = found.probabilities.max(axis=1, initial=0.0) < least
        if self.threshold is not None:
            none |= found.known_scores < self.threshold
        return none

    def facts(self) -> dict[str, Any]:
        """Return what people are told of it, as plain values."""
        counts = self.record.training_counts()
        return {
            "name": self.name,
            "classes_learnt": None if counts is None else sum(map(bool, counts.values())),
            "regions_learnt": None if counts is None else sum(counts.values()),
            "fusion": None if self.fusion is None else self.fusion.settings.line,
            "unknown_threshold": self.threshold,
        }


def read_question(config: AppConfig) -> tuple[list[HeadSource], Vocabulary]:
    """Return the heads, without their weights, and the names that are asked about.

    Raises:
        InputError: If the vocabulary is wrong, or none is known.
        CheckpointError: If a head, its fusion or its threshold cannot be read.
    """
    heads = head_sources(config.served_heads, config)
    vocabulary = _first_vocabulary(config, heads)
    require_names(vocabulary.names)
    return heads, vocabulary


def head_sources(folders: Sequence[Path], config: AppConfig) -> list[HeadSource]:
    """Return heads as they lie in their folders, without their weights."""
    return [
        HeadSource(
            name,
            folder,
            read_record(folder),
            choose_fusion(config.fuse, folder),
            choose_threshold(None, folder),
            weights_sum(folder),
        )
        for name, folder in zip(head_names(folders), folders, strict=True)
    ]


def embedded_for(heads: Sequence[HeadSource]) -> frozenset[EmbeddingSource]:
    """Return how CLIP embeds regions for any of the heads: an image encoded once fits all."""
    own = {head.record.config.region_embeddings for head in heads}
    fused = {head.fusion.entry.region_embeddings for head in heads if head.fusion}
    return frozenset(source for source in own | fused if source is not None)


def _first_vocabulary(config: AppConfig, heads: Sequence[HeadSource]) -> Vocabulary:
    """Return the names that are asked for, or else those that the first head learnt."""
    if config.names is not None or config.vocabulary is not None:
        return load_vocabulary(names=config.names, file=config.vocabulary)
    learnt = heads[0].learnt
    if not learnt:
        raise InputError(
            f"{heads[0].folder}: the head's record names no classes that it learnt; give names "
            f"with --names A,B,C or --vocabulary FILE"
        )
    return Vocabulary.from_names(sorted(learnt))
