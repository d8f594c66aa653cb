"""A head's scores joined with zero-shot CLIP's, which knows words that no head was taught.

p ∝ head^(1 − w) · clip^w, both after a softmax of their own, with a weight for classes that the
head saw in training and another for those that it did not: the geometric ensemble of F-VLM (Kuo et
al. 2022, arXiv 2209.15639). Unlike there, a region's probabilities are made to add up to 1 again,
so that scores of different images compare better (benchmarks/LOG.md). ``fusion.json`` beside a
head's record holds what `evaluate tune` found.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from regionspot_core.heads.checkpoint import weights_sum
from regionspot_core.heads.held_out_classes import HeldOutClasses
from regionspot_core.heads.sealed_file import HeadFile, read_sealed, write_sealed
from regionspot_core.support.checksums import FileSum
from regionspot_core.support.records import Record

FUSION = "fusion.json"
FORMAT = "regionspot score fusion 1"
LEAST = float(np.finfo(np.float32).tiny)
"""Smallest probability that has a logarithm: smaller ones of CLIP's count as this one."""


class Tuning(Record):
    """Data that a fusion's weights and temperatures were found on."""

    cache: dict[str, Any]
    """Data set of the store, as its fingerprint names it."""
    head: FileSum
    """Weights of the head that was tuned with; it learnt nothing of the held-out classes."""
    held_out_classes: HeldOutClasses
    images: int = Field(ge=1)
    """Number of images, of which that head learnt none."""
    regions: dict[str, int]
    """Number of regions of seen and of held-out classes."""
    objective: str
    before: dict[str, float]
    """Figures of the tuning head alone on these regions."""
    after: dict[str, float]
    """Figures of its scores as they are fused."""


class ScoreFusion(Record):
    """Weights and temperatures by which a head's scores are joined with CLIP's opinion."""

    opinion: str
    """Name of the zero-shot baseline that gives CLIP's opinion."""
    weight_seen: float = Field(ge=0, le=1)
    """Share of CLIP's opinion on classes with a region in the head's training."""
    weight_unseen: float = Field(ge=0, le=1)
    """Share of CLIP's opinion on all other classes."""
    head_temperature: float = Field(default=1.0, gt=0)
    """Number that the head's logits are divided by before their softmax."""
    clip_temperature: float = Field(default=1.0, gt=0)
    """Number that CLIP's logits are divided by before theirs."""
    tuned: Tuning | None = None
    """None: somebody gave these numbers."""

    def weights(self, seen_K: NDArray[np.bool_]) -> torch.Tensor:
        """Return (K,) the share of CLIP's opinion on each class."""
        weights = np.where(seen_K, self.weight_seen, self.weight_unseen)
        return torch.from_numpy(weights.astype(np.float32))

    def fuse(
        self, logits: torch.Tensor, opinion: torch.Tensor, weights_K: torch.Tensor
    ) -> torch.Tensor:
        """Return the logits (…, K) whose softmax is the fused probability.

        Args:
            logits: (…, K), the head's.
            opinion: (…, K), CLIP's probabilities of the same regions and classes.
            weights_K: Result of :meth:`weights`.
        """
        clip_logits = opinion.float().clamp(min=LEAST).log()
        return fused_logits(
            logits.float() / self.head_temperature, clip_logits / self.clip_temperature, weights_K
        )

    @property
    def line(self) -> str:
        """Return one line for people: the numbers, and where they come from."""
        origin = "as given"
        if self.tuned is not None:
            origin = (
                f"tuned on {len(self.tuned.held_out_classes.names):,} held-out classes and "
                f"{self.tuned.images:,} images"
            )
        return (
            f"scores fused with {self.opinion}: weight {self.weight_seen:g} of seen classes, "
            f"{self.weight_unseen:g} of unseen ones; temperatures {self.head_temperature:g} of the "
            f"head, {self.clip_temperature:g} of CLIP ({origin})"
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values; :meth:`parse` reads them back."""
        return self.model_dump(mode="json")


def fused_logits(
    head_logits: torch.Tensor, clip_logits: torch.Tensor, weights_K: torch.Tensor
) -> torch.Tensor:
    """Return the weighted mean (…, K) of two logarithms of probabilities.

    Args:
        head_logits: (…, K), divided by the head's temperature.
        clip_logits: (…, K), divided by CLIP's.
        weights_K: (K,) share of CLIP on each class.
    """
    return torch.lerp(head_logits.log_softmax(-1), clip_logits.log_softmax(-1), weights_K)


class _FusionFile(HeadFile):
    """The content of ``fusion.json``."""

    format: Literal["regionspot score fusion 1"]
    fusion: ScoreFusion


def save_fusion(folder: Path, fusion: ScoreFusion) -> None:
    """Write a fusion beside the head in ``folder``; evaluation then applies it.

    Raises:
        CheckpointError: If there is no readable head.
    """
    file = _FusionFile(format=FORMAT, head=weights_sum(folder), fusion=fusion)
    write_sealed(folder / FUSION, file)


def load_fusion(folder: Path) -> ScoreFusion | None:
    """Return the fusion beside the head in ``folder``; None where there is none.

    Raises:
        CheckpointError: If it is damaged, or of another head.
    """
    file = read_sealed(folder / FUSION, _FusionFile, off="--fuse none")
    return None if file is None else file.fusion
