"""Results files as columns. Whatever cannot be scored is counted, shown and refused."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regionspot_core.datasets.checks import locate, view
from regionspot_core.datasets.detections.detections_file import DetectionsFile
from regionspot_core.datasets.detections.entry_problems import BlockCheck
from regionspot_core.datasets.detections.entry_reader import EntryReader, boxes, column
from regionspot_core.datasets.truth import Truth
from regionspot_core.imaging.boxes import without_negative_sides
from regionspot_core.support.progress import say
from regionspot_core.support.tables import counted
from regionspot_evaluate.scoring.entries import (
    Boxed,
    Entry,
    Masked,
    Rle,
    as_json,
    parse_entry,
    wanted_keys,
)
from regionspot_evaluate.scoring.figures import Iou
from regionspot_evaluate.scoring.run_lengths import are_run_lengths


@dataclass(frozen=True)
class Results:
    """N detections in the file's order; of the M that LVIS judges, boxes and masks too.

    A detection of a class that is neither annotated in its image nor known to be absent there only
    takes one of the image's places, so 20 bytes of it are enough.
    """

    path: Path
    entry: NDArray[np.int32]
    """(N,) places in the file, rising: detections of images that are not scored are left out."""
    image: NDArray[np.int32]
    """(N,) positions in ``Truth.image_id``."""
    class_index: NDArray[np.int32]
    """(N,) positions in ``Truth.class_id``."""
    score: NDArray[np.float64]
    """(N,)"""
    judged: NDArray[np.int64]
    """(M,) positions among the N, rising."""
    box: NDArray[np.float64] | None
    """(M, 4) x, y, width, height; None where the file has none."""
    counts: NDArray[np.uint8]
    """Compressed run lengths end to end."""
    counts_start: NDArray[np.int64]
    """(M + 1,): where each one's begin; (1,) where masks were not asked for."""
    every_box: NDArray[np.float64] | None = None
    """(N, 4) as ``box``, of detections that are not judged too; None where not asked for."""

    @classmethod
    def read(
        cls,
        file: DetectionsFile,
        truth: Truth,
        *,
        ious: Sequence[Iou],
        every_box: bool = False,
    ) -> Results:
        """Read and check all detections of an open file, block by block.

        Args:
            file: The results file.
            truth: The annotations they are of.
            ious: Kinds of region that will be scored; where only masks are, boxes are kept for
                their areas.
            every_box: Whether to keep the boxes of detections that are not judged.

        Raises:
            AnnotationError: If the file is no such list, or has detections that cannot be
                scored; the message counts them by what is wrong, and shows the first.
        """
        reader = _ResultsReader(file.path, truth, ious, every_box=every_box)
        file.read_into(reader)
        return reader.results()

    def rle(self, row: int, size: tuple[int, int]) -> dict[str, Any]:
        """Return the mask of judged detection ``row``, in an image of ``size`` (height, width)."""
        counts = self.counts[slice(*self.counts_start[row : row + 2])]
        return {"size": list(size), "counts": counts.tobytes().decode("ascii")}


def read_results(path: Path, truth: Truth, *, ious: Sequence[Iou]) -> Results:
    """Open, read and check a results file; see :meth:`Results.read`."""
    with DetectionsFile(path) as file:
        return Results.read(file, truth, ious=ious)


def read_entries(path: Path, truth: Truth, *, ious: Sequence[Iou]) -> list[dict[str, Any]]:
    """Return all detections of a file that :func:`read_results` took, as LVIS's package asks.

    They are in one form, and in memory together.
    """
    with DetectionsFile(path) as file:
        entries = [parse_entry(value, ious, truth) for value in file.stream().elements()]
    others = set(truth.others.image_id.tolist())
    return [as_json(entry) for entry in entries if entry.image_id not in others]


class _ResultsReader(EntryReader):
    """Detections on their way into columns."""

    noun = "detections"
    verb = "scored"

    def __init__(self, path: Path, truth: Truth, ious: Sequence[Iou], *, every_box: bool) -> None:
        super().__init__(path)
        self._truth, self._ious = truth, tuple(ious)
        self._every_box = every_box
        self._masks = "segm" in ious
        self.form = Masked if self._masks else Boxed
        self._boxes: bool | None = True if "bbox" in ious else None
        """Whether detections have a box; None until the first one is read."""
        self._entry, self._score = array("i"), array("d")
        self._image, self._class = array("i"), array("i")
        self._judged, self._box = array("q"), array("d")
        self._counts, self._counts_start = bytearray(), array("q", [0])

    def results(self) -> Results:
        """Return the columns.

        Raises:
            AnnotationError: If an entry cannot be scored.
        """
        self.finish()
        if len(self._entry) < self.seen:
            left_out = counted(self.seen - len(self._entry), "detection")
            say(f"{self.path}: {left_out} of images that are not scored are left out")
        judged = view(self._judged, np.int64)
        box = view(self._box, np.float64).reshape(-1, 4) if self._boxes else None
        every_box = box if self._every_box else None
        return Results(
            path=self.path,
            entry=view(self._entry, np.int32),
            image=view(self._image, np.int32),
            class_index=view(self._class, np.int32),
            score=view(self._score, np.float64),
            judged=judged,
            box=box if every_box is None else every_box[judged],
            counts=view(self._counts, np.uint8),
            counts_start=view(self._counts_start, np.int64),
            every_box=every_box,
        )

    def parse(self, value: object) -> Entry:
        """Return a detection of any form that the scorers take."""
        entry = parse_entry(value, self._ious, self._truth)
        self.by_file_name |= isinstance(value, dict) and isinstance(value["image_id"], str)
        return entry

    def add(self, entries: Sequence[Entry], numbers: NDArray[np.int64]) -> None:
        """Add detections, whose places are ``numbers``; count those that cannot be scored."""
        truth = self._truth
        image_id = column(entries, "image_id", np.int64)
        if (elsewhere := np.isin(image_id, truth.others.image_id)).any():
            kept = np.flatnonzero(~elsewhere)
            entries, numbers = [entries[row] for row in kept.tolist()], numbers[kept]
            image_id = image_id[kept]
        if not entries:
            return
        if self._boxes is None:
            self._boxes = entries[0].bbox is not None
        class_id = column(entries, "category_id", np.int64)
        image, class_index = locate(truth.image_id, image_id), locate(truth.class_id, class_id)
        score = column(entries, "score", np.float64)
        has_box = self._have_boxes(entries)
        box = boxes(entries) if self._boxes and has_box.all() else None
        check = BlockCheck(self.problems, numbers)
        check.require_ids("image", image, image_id)
        check.require_ids("class", class_index, class_id)
        check.require_scores(score)
        self._require_alike(check, entries, has_box)
        if box is not None:
            check.require_sides(box)
        masks = [each.segmentation for each in entries if isinstance(each, Masked)]
        if self._masks:
            self._require_masks(check, masks, image)
        if check.bad.any():
            return  # the file is refused in the end, and nothing of it is scored
        known = np.flatnonzero(truth.is_known(image, class_index))
        self._judged.frombytes((known + len(self._image)).tobytes())
        self._entry.frombytes(numbers.astype(np.int32).tobytes())
        self._image.frombytes(image.astype(np.int32).tobytes())
        self._class.frombytes(class_index.astype(np.int32).tobytes())
        self._score.frombytes(score.tobytes())
        if box is not None:
            box = without_negative_sides(box if self._every_box else box[known])
            self._box.frombytes(box.tobytes())
        if self._masks:
            counts, start = _joined([masks[row].counts for row in known.tolist()])
            self._counts_start.frombytes((start[1:] + len(self._counts)).tobytes())
            self._counts += counts

    def _have_boxes(self, entries: Sequence[Entry]) -> NDArray[np.bool_]:
        if not self._masks:
            return np.ones(len(entries), dtype=bool)
        return np.fromiter((each.bbox is not None for each in entries), bool, len(entries))

    def _require_alike(
        self, check: BlockCheck, entries: Sequence[Entry], has_box: NDArray[np.bool_]
    ) -> None:
        keys = ", ".join(wanted_keys(self._ious))
        check.refuse(
            has_box != self._boxes,
            "with a bbox where the first has none, or the other way round",
            lambda row: (
                f"expected an object with {keys}, and bbox as in the first; got {entries[row].bbox}"
            ),
        )

    def _require_masks(
        self, check: BlockCheck, masks: Sequence[Rle], image: NDArray[np.int64]
    ) -> None:
        # A region has its mask once for each of its classes: each is checked once.
        place = dict[tuple[str, tuple[int, int]], int]()
        owner = [place.setdefault((mask.counts, mask.size), len(place)) for mask in masks]
        size = np.array([each for _, each in place], dtype=np.int64).reshape(-1, 2)
        expected = self._truth.image_size[np.maximum(image, 0)]
        check.refuse(
            (size[owner] != expected).any(axis=1),
            "whose mask is of another size than its image",
            lambda row: f"expected a mask of its image's height and width, got {masks[row].size}",
        )
        counts, start = _joined([text for text, _ in place])
        good = are_run_lengths(view(counts, np.uint8), start, size.prod(axis=1))
        check.refuse(
            ~good[owner],
            "whose run lengths do not make a mask",
            lambda row: "expected compressed run lengths that fill the mask as counts",
        )


def _joined(counts: Sequence[str]) -> tuple[bytearray, NDArray[np.int64]]:
    """Return masks' run lengths end to end, and where each begins."""
    text = "".join(counts)
    if not text.isascii():  # it makes no run lengths, whatever stands for the others
        text = "".join(each if each.isascii() else "\0" for each in text)
    return bytearray(text, "ascii"), np.cumsum([0, *map(len, counts)]).astype(np.int64)
