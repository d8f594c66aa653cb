"""Whether a head's scores are joined with CLIP's opinion, and how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from regionspot_core.errors import InputError
from regionspot_core.heads.checkpoint import HeadRecord, read_record
from regionspot_core.heads.score_fusion import FUSION, ScoreFusion, load_fusion
from regionspot_core.support.progress import say
from regionspot_core.support.tables import counted
from regionspot_evaluate.recognition.baselines.names import (
    BASELINE_TABLE,
    NO_BASELINE,
    BaselineEntry,
)
from regionspot_evaluate.recognition.fuse_config import WEIGHT_SEEN, WEIGHT_UNSEEN, FuseConfig


@dataclass(frozen=True)
class HeadFusion:
    """A score fusion, and the head whose training says which classes were seen."""

    settings: ScoreFusion
    head: HeadRecord

    @property
    def entry(self) -> BaselineEntry:
        """Return the baseline that gives CLIP's opinion."""
        return BASELINE_TABLE[self.settings.opinion]

    @property
    def label(self) -> str:
        """Return the name of what the head is joined with, in tables."""
        return self.entry.label

    def weights(self, names: Sequence[str]) -> torch.Tensor:
        """Return (K,) the share of CLIP's opinion on each class of a vocabulary."""
        return self.settings.weights(self.head.classes_learnt(names))


def choose_fusion(config: FuseConfig, head: Path) -> HeadFusion | None:
    """Return the fusion that is asked for, or else the one in the head's folder; None for none.

    Args:
        config: What is asked for.
        head: The head's folder.

    Raises:
        CheckpointError: If the head's record or its fusion cannot be read.
        InputError: If its fusion names an opinion that is not known here.
    """
    settings = _settings(config, head)
    if settings is None:
        return None
    if settings.opinion not in BASELINE_TABLE:
        raise InputError(
            f"{head / FUSION}: expected an opinion of {', '.join(BASELINE_TABLE)}; got "
            f"{settings.opinion!r}; register it, or leave it aside with --fuse none"
        )
    return HeadFusion(settings, read_record(head))


def warn_of_tuning(fusions: Mapping[str, HeadFusion | None], annotations_sha256: str) -> None:
    """Say in a line where a fusion was tuned on images of the annotations that are scored.

    Args:
        fusions: Each head's, by its name.
        annotations_sha256: Checksum of the annotation file.
    """
    for name, fusion in fusions.items():
        tuned = None if fusion is None else fusion.settings.tuned
        if tuned is not None and tuned.cache.get("annotations_sha256") == annotations_sha256:
            say(
                f"evaluate: the weights by which {name} is fused were tuned on "
                f"{counted(tuned.images, 'image')} of these annotations, so its figures are what "
                f"they were tuned for; to know how good it is, score other images"
            )


def _settings(config: FuseConfig, head: Path) -> ScoreFusion | None:
    if config.opinion is None:
        return load_fusion(head)
    if config.opinion == NO_BASELINE:
        return None
    defaults = {
        "weight_seen": WEIGHT_SEEN, "weight_unseen": WEIGHT_UNSEEN,
        "head_temperature": 1.0, "clip_temperature": 1.0,
    }  # fmt: skip
    return ScoreFusion.parse(
        defaults | {name: value for name, value in config if value is not None}, source="--fuse"
    )
