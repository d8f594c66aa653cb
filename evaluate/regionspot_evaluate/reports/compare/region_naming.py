"""How a run named its known regions, image by image, where its folder says so."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

from regionspot_core.datasets.checks import locate
from regionspot_core.datasets.truth import Truth
from regionspot_core.errors import AnnotationError
from regionspot_evaluate.folder.detections import results_names
from regionspot_evaluate.folder.folder import IMAGES
from regionspot_evaluate.recognition.baselines.names import BASELINE_TABLE, results_file
from regionspot_evaluate.scoring.classification import FIRST, FIRST_FIVE

WITHIN = {"top1": FIRST, "top5": FIRST_FIVE}
"""Figures: the share of regions whose true class stands among so many first names."""
_Rank = Annotated[int, msgspec.Meta(ge=0, le=2**31)]


class _Line(msgspec.Struct):
    """An image of ``images.jsonl``; one that could not be read has no regions."""

    image_id: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
    ranks: list[_Rank] = []
    baseline_ranks: dict[str, list[_Rank]] = {}


@dataclass(frozen=True)
class RegionNaming:
    """Counts by image; images whose regions are not known have none."""

    regions: NDArray[np.int64]
    """(I,)"""
    right: dict[str, NDArray[np.int64]]
    """(I,) regions named right, by figure."""

    def figures(self) -> dict[str, float | None]:
        """Return the shares of 1; None without any region."""
        total = int(self.regions.sum())
        return {
            name: int(right.sum()) / total if total else None for name, right in self.right.items()
        }

    def drawn_figures(self, times_NI: NDArray[np.integer]) -> dict[str, NDArray[np.float64]]:
        """Return the shares of each draw, (N,); NaN where it has no region."""
        regions = times_NI @ self.regions
        return {
            name: np.where(regions > 0, times_NI @ right / np.maximum(regions, 1), np.nan)
            for name, right in self.right.items()
        }


def naming_beside(results: Path, truth: Truth) -> RegionNaming | None:
    """Read what the folder of ``evaluate run`` says beside a head's or baseline's results file.

    Returns:
        None where there is no such file, or it says nothing of this results file.

    Raises:
        AnnotationError: If ``evaluate run`` writes no such file, or it is of other annotations.
    """
    own = (each for each in BASELINE_TABLE if results.name in results_names(results_file(each)))
    baseline = next(own, None)
    if baseline is None and results.name not in results_names():
        return None
    # The baselines of several heads lie beside the heads' folders, each of which lists them.
    path = results.with_name(IMAGES)
    if baseline is not None and not path.is_file():
        path = next(iter(sorted(results.parent.glob(f"*/{IMAGES}"))), path)
    if not path.is_file():
        return None
    lines = _read(path)
    if baseline is not None and not any(baseline in line.baseline_ranks for line in lines):
        return None
    others = set(truth.others.image_id.tolist())
    lines = [line for line in lines if line.image_id not in others]
    image = locate(truth.image_id, np.array([line.image_id for line in lines], dtype=np.int64))
    if (image < 0).any():
        wrong = lines[int(image.argmin())].image_id
        raise AnnotationError(f"{path}: image {wrong} is not in the annotations {truth.path}")
    ranks = [
        line.ranks if baseline is None else line.baseline_ranks.get(baseline, []) for line in lines
    ]
    owner = np.repeat(image, [len(each) for each in ranks])
    rank = np.array([value for each in ranks for value in each], dtype=np.int64)
    images = len(truth.image_id)
    return RegionNaming(
        regions=np.bincount(owner, minlength=images),
        right={
            name: np.bincount(owner[rank < limit], minlength=images)
            for name, limit in WITHIN.items()
        },
    )


def _read(path: Path) -> list[_Line]:
    try:
        return msgspec.json.Decoder(_Line).decode_lines(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise AnnotationError(
            f"{path}: expected the list of images that `evaluate run` wrote ({error})"
        ) from None
