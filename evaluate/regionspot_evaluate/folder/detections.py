"""From probabilities to LVIS results: which (region, class) pairs count, and the file."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from regionspot_core.datasets.vocabulary import Vocabulary
from regionspot_core.imaging.boxes import xyxy_to_xywh
from regionspot_core.scoring.lvis import best_pairs
from regionspot_core.support.files import written_aside

if TYPE_CHECKING:  # it loads torch, which scoring, comparing and reports need not wait for
    from regionspot_evaluate.proposals.boxes import Proposals

DETECTIONS = "detections.json.gz"
PACKED = ".gz"
"""End of the names of results files. Earlier versions wrote them as they are, without it."""
LEVEL = 6
"""zlib's own choice: 9 packs two hundredths more in four times the time."""


def image_detections(
    image_id: int,
    proposals: Proposals,
    probabilities_RK: NDArray[np.floating],
    *,
    vocabulary: Vocabulary,
    limit: int,
    masks: list[dict[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """Return one image's entries of an LVIS results file.

    A pair's score is its class probability × the proposal's score; the best ``limit`` are kept.
    """
    pairs = ScoredPairs.best(proposals, probabilities_RK, limit=limit)
    return pairs.entries(image_id, proposals.boxes, vocabulary, masks)


@dataclass(frozen=True)
class ScoredPairs:
    """The pairs of region and class that an image keeps, best first."""

    regions: list[int]
    classes: list[int]
    scores: list[float]

    @classmethod
    def best(
        cls, proposals: Proposals, probabilities_RK: NDArray[np.floating], *, limit: int
    ) -> ScoredPairs:
        """Return the pairs of the highest class probability × proposal's score."""
        scores = probabilities_RK * proposals.scores[:, None]
        regions, classes = best_pairs(scores, limit=limit)
        return cls(regions.tolist(), classes.tolist(), scores[regions, classes].tolist())

    def entries(
        self,
        image_id: int,
        boxes: NDArray[np.floating],
        vocabulary: Vocabulary,
        masks: Sequence[dict[str, Any] | None] | None = None,
    ) -> list[dict[str, Any]]:
        """Return the pairs as entries of an LVIS results file.

        Args:
            image_id: Id of the image.
            boxes: (R, 4) xyxy, original pixels.
            vocabulary: Vocabulary of the classes.
            masks: R run-length encodings; None writes no masks.
        """
        xywh = np.round(xyxy_to_xywh(boxes), 3).tolist()
        entries: list[dict[str, Any]] = []
        for region, index, score in zip(self.regions, self.classes, self.scores, strict=True):
            entry = {
                "image_id": image_id,
                "category_id": vocabulary.ids[index],
                "bbox": xywh[region],
                "score": score,
            }
            if masks is not None:
                entry["segmentation"] = masks[region]
            entries.append(entry)
        return entries


def find_results(folder: Path, name: str = DETECTIONS) -> Path | None:
    """Return a results file of an evaluation's folder, packed or as earlier versions wrote it."""
    return next((folder / each for each in results_names(name) if (folder / each).exists()), None)


def results_names(name: str = DETECTIONS) -> tuple[str, str]:
    """Return the names that a results file may have: now, and as earlier versions wrote it."""
    return name, name.removesuffix(PACKED)


class ResultsFile:
    """An LVIS results JSON that grows entry by entry, packed with gzip.

    Regions that share a mask repeat it, and so do a head and its baselines: packed, it is there
    about once in each file.
    """

    def __init__(self, path: Path, file: gzip.GzipFile) -> None:
        self.path = path
        self.count = 0
        self._file = file

    @classmethod
    @contextmanager
    def written(cls, path: Path) -> Iterator[Self]:
        """Yield the file to add to; it gets its name when it is whole.

        An earlier version's file of the same results, which is not packed, is then removed.
        """
        with (
            written_aside(path) as partial,
            partial.open("wb") as packed,
            # Without a name and a time in it, equal results make equal files.
            gzip.GzipFile("", "wb", LEVEL, packed, mtime=0) as file,
        ):
            results = cls(path, file)
            yield results
            file.write(b"\n]\n" if results.count else b"[]\n")
        if path.suffix == PACKED:
            path.with_suffix("").unlink(missing_ok=True)

    def add(self, entries: list[dict[str, Any]]) -> None:
        """Append entries.

        Raises:
            ValueError: If a figure in them is not finite, which JSON cannot say.
        """
        if not entries:
            return
        lines = b",\n".join(map(msgspec.json.encode, entries))
        if b":null" in lines:  # what msgspec makes of such a figure; nothing else is null
            raise ValueError("a figure of a detection is not finite, which JSON cannot say")
        self._file.write(b",\n" if self.count else b"[\n")
        self._file.write(lines)
        self.count += len(entries)
