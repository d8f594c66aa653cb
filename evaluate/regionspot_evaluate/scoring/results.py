"""Results files as columns. Whatever cannot be scored is counted, shown and refused."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from regionspot_core.datasets.checks import locate, view
from regionspot_core.datasets.json_stream import JsonStream
from regionspot_core.datasets.truth import Truth
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
from regionspot_evaluate.scoring.json_blocks import BLOCK_BYTES, list_blocks
from regionspot_evaluate.scoring.run_lengths import are_run_lengths

Refuse = Callable[[NDArray[np.bool_], str, str], None]
"""Function that takes flags of wrong entries, the kind that counts them, and a message of one."""
SHOWN = 3
SLOW_BLOCK = 8_192
HIGHEST = 1 + 1e-6
"""A float32 that sums or multiplies to 1 may be this much above it."""


class Columns(NamedTuple):
    """Some entries of a file."""

    image: NDArray[np.int64]
    """Positions in ``Truth.image_id``, −1 for an unknown image."""
    class_index: NDArray[np.int64]
    """Positions in ``Truth.class_id``, −1 for an unknown class."""
    score: NDArray[np.float64]
    has_box: NDArray[np.bool_]
    box: NDArray[np.float64] | None
    """(n, 4); None where an entry has none."""


@dataclass(frozen=True)
class Results:
    """N detections in the file's order; of the M that LVIS judges, boxes and masks too.

    A detection of a class that is neither annotated in its image nor known to be absent there only
    takes one of the image's places, so 17 bytes of it are enough.
    """

    path: Path
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

    def rle(self, row: int, size: tuple[int, int]) -> dict[str, Any]:
        """Return the mask of judged detection ``row``, in an image of ``size`` (height, width)."""
        counts = self.counts[slice(*self.counts_start[row : row + 2])]
        return {"size": list(size), "counts": counts.tobytes().decode("ascii")}


class DetectionsFile:
    """A results file that is opened once: for its columns, and then for single masks.

    Args:
        path: A JSON list of detections.
        block_bytes: Size of the pieces that are read.
        block_rows: Number of entries that are checked together where they are read one by one.
    """

    def __init__(
        self, path: Path, *, block_bytes: int = BLOCK_BYTES, block_rows: int = SLOW_BLOCK
    ) -> None:
        self.path = path
        self._block_bytes = block_bytes
        self._block_rows = block_rows
        self._blocks: list[_ReadBlock] = []
        self._slow_from = 0

    def __enter__(self) -> Self:
        """Open the file.

        Raises:
            AnnotationError: If it is missing, no regular file, or cannot be read.
        """
        if self.path.exists() and not self.path.is_file():
            raise AnnotationError(f"{self.path}: expected a results file, got {kind_of(self.path)}")
        try:
            self._file = self.path.open("rb")
        except FileNotFoundError:
            raise AnnotationError(f"{self.path}: no such results file") from None
        except OSError as error:
            raise self._unreadable(error) from None
        return self

    def __exit__(self, *error: object) -> None:
        """Close the file."""
        self._file.close()

    def has_masks(self) -> bool:
        """Return whether the first detection has a mask; a malformed file has none."""
        try:
            first = next(self._stream().elements(), None)
        except AnnotationError:
            return False
        return isinstance(first, dict) and bool(first.get("segmentation"))

    def read(
        self,
        truth: Truth,
        *,
        ious: Sequence[Iou],
        may_be_empty: bool = False,
        every_box: bool = False,
    ) -> Results:
        """Read and check all detections, block by block.

        Args:
            truth: The annotations they are of.
            ious: Kinds of region that will be scored; where only masks are, boxes are kept for
                their areas.
            may_be_empty: Whether a file without detections is a result too.
            every_box: Whether to keep the boxes of detections that are not judged.

        Raises:
            AnnotationError: If the file is no such list, empty, or has detections that cannot be
                scored; the message counts them by what is wrong, and shows the first.
        """
        reader = _Reader(self.path, truth, ious, every_box=every_box)
        try:
            if not self._read_fast(reader):
                self._read_slowly(reader)
        except OSError as error:
            raise self._unreadable(error) from None
        return reader.results(may_be_empty=may_be_empty)

    def segmentations(self, entries: Collection[int]) -> dict[int, Any]:
        """Return the ``segmentation`` of some entries, by their places; only those that have one.

        They must have been read by :meth:`read`, whose blocks are looked up again.
        """
        masks = dict[int, Any]()
        decode = msgspec.json.Decoder(list[_Segmented]).decode
        for block in self._blocks:
            wanted = [n for n in entries if block.first <= n < block.first + block.entries]
            if wanted:
                self._file.seek(block.begin)
                text = self._file.read(block.length)
                found = decode(b"[" + text + block.closing)
                masks |= {n: found[n - block.first].segmentation for n in wanted}
        late = {n for n in entries if n >= self._slow_from}
        for place, entry in enumerate(self._stream().elements()) if late else ():
            if place in late:
                masks[place] = entry.get("segmentation")
        return {place: mask for place, mask in masks.items() if mask}

    def _read_fast(self, reader: _Reader) -> bool:
        """Read as long as every entry has the plain form; return whether that was to the end."""
        kind = Masked if reader.masks else Boxed
        decode = msgspec.json.Decoder(list[kind]).decode  # type: ignore[valid-type]
        self._file.seek(0)
        self._blocks.clear()
        blocks = list_blocks(self._file, block_bytes=self._block_bytes)
        while True:
            self._slow_from = reader.seen
            try:
                block = next(blocks, None)
                if block is None:
                    return True
                entries: list[Entry] = decode(block.text)
            except (ValueError, RecursionError):  # msgspec's errors are ValueErrors too
                return False
            self._blocks.append(
                _ReadBlock(
                    reader.seen,
                    len(entries),
                    block.begin,
                    block.length,
                    closing=block.text[1 + block.length :],
                )
            )
            reader.add(entries, np.arange(reader.seen, reader.seen + len(entries)))
            reader.seen += len(entries)

    def _read_slowly(self, reader: _Reader) -> None:
        """Read the entries that are not yet read one by one, in any form that can be scored."""
        stream = self._stream()
        if stream.opening() != "[":
            stream.value()
            raise AnnotationError(
                f"{self.path}: expected a list of detections (COCO results), got JSON of another "
                f"kind"
            )
        entries = enumerate(stream.elements())
        for _ in islice(entries, reader.seen):
            pass
        while block := list(islice(entries, self._block_rows)):
            reader.add_values(block)
            reader.seen += len(block)
        stream.finish()

    def _stream(self) -> JsonStream:
        self._file.seek(0)
        return JsonStream(self._file, self.path, expected="LVIS results JSON")

    def _unreadable(self, error: OSError) -> AnnotationError:
        return AnnotationError(f"{self.path}: cannot be read ({error.strerror})")


class _ReadBlock(NamedTuple):
    first: int
    """Place of its first entry."""
    entries: int
    begin: int
    """Offset of its first byte."""
    length: int
    closing: bytes
    """Bracket that makes a list of it; empty for the last block, which has the list's own."""


class _Segmented(msgspec.Struct):
    segmentation: Any = None


def read_results(
    path: Path, truth: Truth, *, ious: Sequence[Iou], may_be_empty: bool = False
) -> Results:
    """Open, read and check a results file; see :meth:`DetectionsFile.read`."""
    with DetectionsFile(path) as file:
        return file.read(truth, ious=ious, may_be_empty=may_be_empty)


def read_entries(path: Path, truth: Truth, *, ious: Sequence[Iou]) -> list[dict[str, Any]]:
    """Return all detections of a file that :func:`read_results` took, as LVIS's package asks.

    They are in one form, and in memory together.
    """
    with path.open("rb") as file:
        stream = JsonStream(file, path, expected="LVIS results JSON")
        stream.opening()
        return [as_json(parse_entry(value, ious, truth)) for value in stream.elements()]


class _Reader:
    """Entries on their way into columns, checked block by block."""

    def __init__(self, path: Path, truth: Truth, ious: Sequence[Iou], *, every_box: bool) -> None:
        self._path, self._truth, self._ious = path, truth, tuple(ious)
        self._every_box = every_box
        self.masks = "segm" in ious
        self.seen = 0
        """Number of entries that were read."""
        self._boxes: bool | None = True if "bbox" in ious else None
        """Whether detections have a box; None until the first one is read."""
        self._kinds, self._first = Counter[str](), list[tuple[int, str]]()
        self._image, self._class, self._score = array("i"), array("i"), array("d")
        self._judged, self._box = array("q"), array("d")
        self._counts, self._counts_start = bytearray(), array("q", [0])

    def results(self, *, may_be_empty: bool) -> Results:
        """Return the columns.

        Raises:
            AnnotationError: If an entry cannot be scored, or there is none.
        """
        if self._kinds:
            self._refuse()
        if not self.seen and not may_be_empty:
            raise AnnotationError(f"{self._path}: expected a list of detections, got an empty one")
        judged = view(self._judged, np.int64)
        box = view(self._box, np.float64).reshape(-1, 4) if self._boxes else None
        every_box = box if self._every_box else None
        return Results(
            path=self._path,
            image=view(self._image, np.int32),
            class_index=view(self._class, np.int32),
            score=view(self._score, np.float64),
            judged=judged,
            box=box if every_box is None else every_box[judged],
            counts=view(self._counts, np.uint8),
            counts_start=view(self._counts_start, np.int64),
            every_box=every_box,
        )

    def add_values(self, block: list[tuple[int, object]]) -> None:
        """Add entries of any form, with their places; count those without a form."""
        entries, numbers = list[Entry](), list[int]()
        for number, value in block:
            try:
                entries.append(parse_entry(value, self._ious, self._truth))
                numbers.append(number)
            except FormProblem as problem:
                self._count(problem.kind, [(number, problem.detail)], 1)
        self.add(entries, np.array(numbers, dtype=np.int64))

    def add(self, entries: Sequence[Entry], numbers: NDArray[np.int64]) -> None:
        """Add entries, whose places are ``numbers``; count those that cannot be scored."""
        if not entries:
            return
        if self._boxes is None:
            self._boxes = entries[0].bbox is not None
        truth, count = self._truth, len(entries)
        has_box = self._have_boxes(entries)
        columns = Columns(
            image=locate(truth.image_id, _column(entries, "image_id", np.int64)),
            class_index=locate(truth.class_id, _column(entries, "category_id", np.int64)),
            score=_column(entries, "score", np.float64),
            has_box=has_box,
            box=_boxes(entries) if self._boxes and has_box.all() else None,
        )
        bad = self._check(entries, numbers, columns)
        if bad.any():
            return  # the file is refused in the end, and nothing of it is scored
        self._image.frombytes(columns.image.astype(np.int32).tobytes())
        self._class.frombytes(columns.class_index.astype(np.int32).tobytes())
        self._score.frombytes(columns.score.tobytes())
        known = np.flatnonzero(truth.is_known(columns.image, columns.class_index))
        self._judged.frombytes((known + len(self._image) - count).tobytes())
        if columns.box is not None:
            kept = columns.box if self._every_box else columns.box[known]
            self._box.frombytes(kept.tobytes())
        if self.masks:
            counts, start = _counts([entries[row] for row in known.tolist()])
            self._counts_start.frombytes((start[1:] + len(self._counts)).tobytes())
            self._counts += counts

    def _have_boxes(self, entries: Sequence[Entry]) -> NDArray[np.bool_]:
        if not self.masks:
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
        if self.masks:
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
            f"{self._path}: {total:,} of {self.seen:,} detections cannot be scored, and none is "
            f"left out: {kinds}. {first}{more}"
        )


def _column(entries: Sequence[Entry], name: str, dtype: type[Any]) -> NDArray[Any]:
    return np.fromiter(map(attrgetter(name), entries), dtype, len(entries))


def _boxes(entries: Sequence[Entry]) -> NDArray[np.float64]:
    values = chain.from_iterable(map(attrgetter("bbox"), entries))
    return np.fromiter(values, np.float64, 4 * len(entries)).reshape(-1, 4)


def _counts(entries: Sequence[Any]) -> tuple[bytearray, NDArray[np.int64]]:
    """Return the masks' run lengths end to end, and where each begins."""
    texts = [entry.segmentation.counts.encode("utf-8", "replace") for entry in entries]
    return bytearray().join(texts), np.cumsum([0, *map(len, texts)]).astype(np.int64)
