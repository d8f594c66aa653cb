"""Whether a region is none of a vocabulary's names, by the head's largest logit.

A probability says how much nearer the best name is than the next; the largest logit, a scaled
cosine, says how near it is. So a threshold on it holds for ten names as for a thousand, and CLIP
need not be asked (max logit: Hendrycks et al. 2022, arXiv 1911.11132; Vaze et al. 2022, arXiv
2110.06207; compared with others in benchmarks/LOG.md). ``unknown.json`` beside a head's record
holds the threshold that `evaluate tune` found.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from regionspot_core.heads.checkpoint import weights_sum
from regionspot_core.heads.held_out_classes import HeldOutClasses
from regionspot_core.heads.sealed_file import HeadFile, read_sealed, write_sealed
from regionspot_core.support.checksums import FileSum
from regionspot_core.support.records import Record

UNKNOWN = "unknown.json"
FORMAT = "regionspot unknown threshold 1"
NONE_OF_THESE = "none of these"
"""Name of a region that none of a vocabulary's names fits."""


class ThresholdFigures(NamedTuple):
    """How a threshold parts regions of known classes from others; shares of 1."""

    threshold: float
    known_kept: float
    """Share of the regions of known classes with a score of at least the threshold."""
    unknown_refused: float
    """Share of the other regions with a lower one."""


class UnknownThreshold(Record):
    """The least score that a region of a known class is expected to have, and its origin."""

    score: Literal["max logit"] = "max logit"
    threshold: float = Field(allow_inf_nan=False)
    cache: dict[str, Any]
    """Data set of the store it was found on, as its fingerprint names it."""
    head: FileSum
    """Weights of the head that it was found with; it learnt nothing of the held-out classes."""
    held_out_classes: HeldOutClasses
    """Classes that stand for all that the vocabulary lacks."""
    regions: dict[str, int]
    """Number of regions of seen and of held-out classes."""
    auroc: float = Field(ge=0, le=1)
    """Area under the ROC curve of seen against held-out classes' regions."""
    known_kept: float = Field(ge=0, le=1)
    unknown_refused: float = Field(ge=0, le=1)


def known_scores(logits: torch.Tensor) -> torch.Tensor:
    """Return (…,): how surely a region is one of K names, by the head's own logits (…, K)."""
    return logits.float().amax(-1)


def auroc(known_N: NDArray[np.floating], unknown_M: NDArray[np.floating]) -> float:
    """Return the share of pairs in which the known region has the higher score; ties count half.

    This is the area under the ROC curve (Mann and Whitney's U, over the number of pairs).

    Raises:
        ValueError: If there is no region of one kind.
    """
    if not len(known_N) or not len(unknown_M):
        raise ValueError("expected scores of known and of unknown regions")
    ordered = np.sort(unknown_M)
    below = np.searchsorted(ordered, known_N, side="left")
    not_above = np.searchsorted(ordered, known_N, side="right")
    return float((below + not_above).mean() / 2 / len(ordered))


def best_threshold(
    known_N: NDArray[np.floating], unknown_M: NDArray[np.floating]
) -> ThresholdFigures:
    """Return the score with the largest mean of both shares: seen and held-out count alike.

    Of equals the lowest is taken, which calls fewer regions unknown.
    """
    candidates = np.unique(known_N)  # between two of these no other keeps more
    kept = 1 - np.searchsorted(np.sort(known_N), candidates, side="left") / len(known_N)
    refused = np.searchsorted(np.sort(unknown_M), candidates, side="left") / len(unknown_M)
    best = int((kept + refused).argmax())
    return ThresholdFigures(float(candidates[best]), float(kept[best]), float(refused[best]))


class _UnknownFile(HeadFile):
    """The content of ``unknown.json``."""

    format: Literal["regionspot unknown threshold 1"]
    unknown: UnknownThreshold


def save_threshold(folder: Path, unknown: UnknownThreshold) -> None:
    """Write a threshold beside the head in ``folder``; `evaluate predict` then applies it.

    Raises:
        CheckpointError: If there is no readable head.
    """
    file = _UnknownFile(format=FORMAT, head=weights_sum(folder), unknown=unknown)
    write_sealed(folder / UNKNOWN, file)


def load_threshold(folder: Path) -> UnknownThreshold | None:
    """Return the threshold beside the head in ``folder``; None where there is none.

    Raises:
        CheckpointError: If it is damaged, or of another head.
    """
    file = read_sealed(folder / UNKNOWN, _UnknownFile, off="--unknown-threshold none")
    return None if file is None else file.unknown
