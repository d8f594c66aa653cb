"""A results file as columns. Whatever cannot be scored is counted, shown and refused."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from operator import attrgetter
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import numpy as np
from numpy.typing import NDArray

from regionspot_core.datasets.checks import locate, view
from regionspot_core.datasets.json_stream import JsonStream
from regionspot_core.errors import AnnotationError
from regionspot_core.support.input_files import kind_of
from regionspot_evaluate.scoring.entries import (
    Boxed,
    Entry,
    FormProblem,
    Masked,
    as_json,
    parse_entry,
    wanted_keys,
)
from regionspot_evaluate.scoring.figures import Iou
from regionspot_evaluate.scoring.json_blocks import list_blocks
from regionspot_evaluate.scoring.run_lengths import are_run_lengths
from regionspot_evaluate.scoring.truth import Truth

Refuse = Callable[[NDArray[np.bool_], str, str], None]
"""Told which entries are wrong, what they are counted as, and what is said of one."""
Columns = tuple[
    NDArray[np.int64],
    NDArray[np.int64],
    NDArray[np.float64],
    NDArray[np.bool_],
    NDArray[np.float64] | None,
]
"""Image and class of some entries as positions, −1 for none; score; whether there is a box; and the
boxes, None where one has none."""
SHOWN = 3
SLOW_BLOCK = 8_192
HIGHEST = 1 + 1e-6
"""A float32 that sums or multiplies to 1 may be this much above it."""


@dataclass(frozen=True)
class Results:
    """N detections in the file's order; of the M that LVIS judges, boxes and masks too.

    A detection of a class that is neither annotated in its image nor known to be absent there only
    takes one of the image's places, so 17 bytes of it are enough.
    """

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

    def rle(self, row: int, size: tuple[int, int]) -> dict[str, Any]:
        """The mask of judged detection ``row``, in an image of ``size`` (height, width)."""
        counts = self.counts[slice(*self.counts_start[row : row + 2])]
        return {"size": list(size), "counts": counts.tobytes().decode("ascii")}


def read_results(
    path: Path, truth: Truth, *, ious: Sequence[Iou], may_be_empty: bool = False
) -> Results:
    """Read and check a results file, block by block.

    Args:
        path: A JSON list of detections.
        truth: The annotations they are of.
        ious: What will be scored; boxes are not kept where only masks are, but for their areas.
        may_be_empty: Whether no detection at all is a result too.

    Raises:
        AnnotationError: The file is missing, no such list, empty, or has detections that cannot be
            scored; the message counts them by what is wrong, and shows the first.
    """
    if path.exists() and not path.is_file():
        raise AnnotationError(f"{path}: expected a results file, got {kind_of(path)}")
    reader = _Reader(path, truth, ious, may_be_empty=may_be_empty)
    try:
        done = reader.read_fast()
    except FileNotFoundError:
        raise AnnotationError(f"{path}: no such results file") from None
    except OSError as error:
        raise AnnotationError(f"{path}: cannot be read ({error.strerror})") from None
    if not done:
        reader.read_slowly()
    return reader.results()


def read_entries(path: Path, truth: Truth, *, ious: Sequence[Iou]) -> list[dict[str, Any]]:
    """All detections of a file that :func:`read_results` took, in the one form that all scorers do.

    They are in memory together, as LVIS's and COCO's own packages ask.
    """
    with path.open("rb") as file:
        stream = JsonStream(file, path, expected="LVIS results JSON")
        stream.opening()
        return [as_json(parse_entry(value, ious, truth)) for value in stream.elements()]


class _Reader:
    def __init__(
        self, path: Path, truth: Truth, ious: Sequence[Iou], *, may_be_empty: bool
    ) -> None:
        self._may_be_empty = may_be_empty
        self._path, self._truth, self._ious = path, truth, tuple(ious)
        self._masks = "segm" in ious
        self._boxes: bool | None = True if "bbox" in ious else None
        """Whether detections have one; None until the first says it."""
        self._seen = 0
        self._kinds, self._first = Counter[str](), list[tuple[int, str]]()
        self._image, self._class, self._score = array("i"), array("i"), array("d")
        self._judged, self._box = array("q"), array("d")
        self._counts, self._counts_start = bytearray(), array("q", [0])

    def read_fast(self) -> bool:
        """Read as long as every entry has the plain form; whether that was to the end."""
        kind = Masked if self._masks else Boxed
        decode = msgspec.json.Decoder(list[kind]).decode  # type: ignore[valid-type]
        blocks = list_blocks(self._path)
        while True:
            try:
                block = next(blocks, None)
                if block is None:
                    return True
                entries: list[Entry] = decode(block)
            except (ValueError, RecursionError):  # msgspec's errors are ValueErrors too
                return False
            self._add(entries, np.arange(self._seen, self._seen + len(entries)))
            self._seen += len(entries)

    def read_slowly(self) -> None:
        """Read the entries that are not yet read one by one, in any form that can be scored."""
        with self._path.open("rb") as file:
            stream = JsonStream(file, self._path, expected="LVIS results JSON")
            if stream.opening() != "[":
                stream.value()
                raise AnnotationError(
                    f"{self._path}: expected a list of detections (COCO results), got JSON of "
                    f"another kind"
                )
            entries = enumerate(stream.elements())
            for _ in islice(entries, self._seen):
                pass
            while block := list(islice(entries, SLOW_BLOCK)):
                self._add(*self._parsed(block))
                self._seen += len(block)
            stream.finish()

    def results(self) -> Results:
        if self._kinds:
            self._refuse()
        if not self._seen and not self._may_be_empty:
            raise AnnotationError(f"{self._path}: expected a list of detections, got an empty one")
        return Results(
            image=view(self._image, np.int32),
            class_index=view(self._class, np.int32),
            score=view(self._score, np.float64),
            judged=view(self._judged, np.int64),
            box=view(self._box, np.float64).reshape(-1, 4) if self._boxes else None,
            counts=view(self._counts, np.uint8),
            counts_start=view(self._counts_start, np.int64),
        )

    def _parsed(self, block: list[tuple[int, object]]) -> tuple[list[Entry], NDArray[np.int64]]:
        entries, numbers = list[Entry](), list[int]()
        for number, value in block:
            try:
                entries.append(parse_entry(value, self._ious, self._truth))
                numbers.append(number)
            except FormProblem as problem:
                self._count(problem.kind, [(number, problem.detail)], 1)
        return entries, np.array(numbers, dtype=np.int64)

    def _add(self, entries: Sequence[Entry], numbers: NDArray[np.int64]) -> None:
        if not entries:
            return
        if self._boxes is None:
            self._boxes = entries[0].bbox is not None
        truth, count = self._truth, len(entries)
        image = locate(truth.image_id, _column(entries, "image_id", np.int64))
        class_index = locate(truth.class_id, _column(entries, "category_id", np.int64))
        score = _column(entries, "score", np.float64)
        has_box = self._have_boxes(entries)
        box = _boxes(entries) if self._boxes and has_box.all() else None
        bad = self._check(entries, numbers, (image, class_index, score, has_box, box))
        if bad.any():
            return  # the file is refused in the end, and nothing of it is scored
        self._image.frombytes(image.astype(np.int32).tobytes())
        self._class.frombytes(class_index.astype(np.int32).tobytes())
        self._score.frombytes(score.tobytes())
        known = np.flatnonzero(truth.is_known(image, class_index))
        self._judged.frombytes((known + len(self._image) - count).tobytes())
        if box is not None:
            self._box.frombytes(box[known].tobytes())
        if self._masks:
            counts, start = _counts([entries[row] for row in known.tolist()])
            self._counts_start.frombytes((start[1:] + len(self._counts)).tobytes())
            self._counts += counts

    def _have_boxes(self, entries: Sequence[Entry]) -> NDArray[np.bool_]:
        if not self._masks:
            return np.ones(len(entries), dtype=bool)
        return np.fromiter((each.bbox is not None for each in entries), bool, len(entries))

    def _check(
        self, entries: Sequence[Entry], numbers: NDArray[np.int64], columns: Columns
    ) -> NDArray[np.bool_]:
        """Count the entries that cannot be scored, each by the first thing that is wrong."""
        image, class_index, score, has_box, box = columns
        bad = np.zeros(len(entries), dtype=bool)

        def refuse(wrong: NDArray[np.bool_], kind: str, detail: str) -> None:
            rows = np.flatnonzero(wrong & ~bad)
            shown = [
                (int(numbers[row]), detail.format(entry=entries[row], value=entries[row].bbox))
                for row in rows[:SHOWN].tolist()
            ]
            self._count(kind, shown, len(rows))
            bad[rows] = True

        absent = "is not in the annotations"
        refuse(image < 0, f"whose image {absent}", f"image {{entry.image_id}} {absent}")
        refuse(class_index < 0, f"whose class {absent}", f"class {{entry.category_id}} {absent}")
        refuse(
            ~((score >= 0) & (score <= HIGHEST)),
            "with a score outside 0 to 1",
            "expected a score from 0 to 1, got {entry.score}",
        )
        keys = ", ".join(wanted_keys(self._ious))
        refuse(
            has_box != self._boxes,
            "with a bbox where the first has none, or the other way round",
            f"expected an object with {keys}, and bbox as in the first; got {{value}}",
        )
        if box is not None:
            refuse(
                box[:, 2:].min(axis=1) < 0,
                "with a negative width or height",
                "expected a bbox whose width and height are not negative, got {value}",
            )
        if self._masks:
            self._check_masks(entries, image, refuse)
        return bad

    def _check_masks(
        self, entries: Sequence[Any], image: NDArray[np.int64], refuse: Refuse
    ) -> None:
        masks = list(map(attrgetter("segmentation"), entries))
        size = np.array([mask.size for mask in masks], dtype=np.int64)
        expected = self._truth.image_size[np.maximum(image, 0)]
        refuse(
            (size != expected).any(axis=1),
            "whose mask is of another size than its image",
            "expected a mask of its image's height and width, got {entry.segmentation.size}",
        )
        counts, start = _counts(entries)
        good = are_run_lengths(view(counts, np.uint8), start, expected.prod(axis=1))
        refuse(
            ~good,
            "whose run lengths do not make a mask",
            "expected compressed run lengths that fill the mask as counts",
        )

    def _count(self, kind: str, shown: list[tuple[int, str]], count: int) -> None:
        if count:
            self._kinds[kind] += count
            self._first = sorted(self._first + shown)[:SHOWN]

    def _refuse(self) -> NoReturn:
        total = sum(self._kinds.values())
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in self._kinds.most_common())
        first = "; ".join(f"entry {number}: {detail}" for number, detail in self._first)
        more = f"; and {total - SHOWN:,} more" if total > SHOWN else ""
        raise AnnotationError(
            f"{self._path}: {total:,} of {self._seen:,} detections cannot be scored, and none is "
            f"left out: {kinds}. {first}{more}"
        )


def _column(entries: Sequence[Entry], name: str, dtype: type[Any]) -> NDArray[Any]:
    return np.fromiter(map(attrgetter(name), entries), dtype, len(entries))


def _boxes(entries: Sequence[Entry]) -> NDArray[np.float64]:
    values = chain.from_iterable(map(attrgetter("bbox"), entries))
    return np.fromiter(values, np.float64, 4 * len(entries)).reshape(-1, 4)


def _counts(entries: Sequence[Any]) -> tuple[bytearray, NDArray[np.int64]]:
    """The masks' run lengths end to end, and where each begins."""
    texts = [entry.segmentation.counts.encode("utf-8", "replace") for entry in entries]
    return bytearray().join(texts), np.cumsum([0, *map(len, texts)]).astype(np.int64)
