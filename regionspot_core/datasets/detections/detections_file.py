"""A results file that is open: its entries block by block, and later the masks of some."""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec
import numpy as np

from regionspot_core.datasets.detections.entry_reader import EntryReader
from regionspot_core.datasets.detections.json_blocks import BLOCK_BYTES, list_blocks, pick_elements
from regionspot_core.datasets.detections.packed_file import open_packed
from regionspot_core.datasets.json_stream import JsonStream
from regionspot_core.errors import AnnotationError
from regionspot_core.support.input_files import kind_of

SLOW_BLOCK = 8_192
"""Entries that are checked together where they are read one by one."""


class DetectionsFile:
    """A results file that is opened once: for its columns, and then for single masks.

    Args:
        path: A JSON list of detections, packed with gzip or not.
        expected: Words for the file's form in errors.
        block_bytes: Size of the pieces that are read.
        block_rows: Number of entries that are checked together where they are read one by one.
    """

    def __init__(
        self,
        path: Path,
        *,
        expected: str = "LVIS results JSON",
        block_bytes: int = BLOCK_BYTES,
        block_rows: int = SLOW_BLOCK,
    ) -> None:
        self.path = path
        self._expected = expected
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
            raise AnnotationError(
                f"{self.path}: expected {self._expected}, got {kind_of(self.path)}"
            )
        try:
            self._file = open_packed(self.path)
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
            first = next(self.stream().elements(), None)
        except AnnotationError:
            return False
        return isinstance(first, dict) and bool(first.get("segmentation"))

    def stream(self) -> JsonStream:
        """Return a cursor at the file's beginning, for a layout that is no list of entries."""
        self._file.seek(0)
        return JsonStream(self._file, self.path, expected=self._expected)

    def opening(self) -> str:
        """Return the first character of the file that is no space."""
        return self.stream().opening()

    def read_into(self, reader: EntryReader) -> None:
        """Hand all entries to a reader, block by block.

        Raises:
            AnnotationError: If the file is no list, or cannot be read.
        """
        try:
            if not self._read_fast(reader):
                self._read_slowly(reader)
        except OSError as error:
            raise self._unreadable(error) from None

    def segmentations(self, entries: Collection[int]) -> dict[int, Any]:
        """Return the ``segmentation`` of some entries, by their places; only those that have one.

        They must have been read by :meth:`read_into`, whose blocks are looked up again.
        """
        masks = dict[int, Any]()
        decode = msgspec.json.Decoder(list[_Segmented]).decode
        for block in self._blocks:
            places = [n - block.first for n in entries]
            places = [place for place in places if 0 <= place < block.entries]
            if places:
                self._file.seek(block.begin)
                text = self._file.read(block.length) + block.closing
                found = decode(pick_elements(text, places, of=block.entries))
                masks |= {
                    block.first + place: each.segmentation
                    for place, each in zip(places, found, strict=True)
                }
        late = {n for n in entries if n >= self._slow_from}
        for place, entry in enumerate(self.stream().elements()) if late else ():
            if place in late:
                masks[place] = entry.get("segmentation")
        return {place: mask for place, mask in masks.items() if mask}

    def _read_fast(self, reader: EntryReader) -> bool:
        """Read as long as every entry has the plain form; return whether that was to the end."""
        decode = msgspec.json.Decoder(list[reader.form]).decode  # type: ignore[name-defined]
        self._file.seek(0)
        self._blocks.clear()
        blocks = list_blocks(self._file, block_bytes=self._block_bytes)
        while True:
            self._slow_from = reader.seen
            try:
                block = next(blocks, None)
                if block is None:
                    return True
                entries = decode(block.text)
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

    def _read_slowly(self, reader: EntryReader) -> None:
        """Read the entries that are not yet read one by one, in any form that can be scored."""
        stream = self.stream()
        if stream.opening() != "[":
            found = stream.value()
            is_dataset = isinstance(found, dict) and {"images", "annotations"} <= found.keys()
            raise AnnotationError(
                f"{self.path}: expected a list of {reader.noun} (COCO results), got "
                + (
                    "a data set in COCO's layout, such as `evaluate predict` writes: its ids are "
                    "its own; `evaluate run` makes results of annotated images, and scores them"
                    if is_dataset
                    else "JSON of another kind"
                )
            )
        entries = enumerate(stream.elements())
        for _ in islice(entries, reader.seen):
            pass
        while block := list(islice(entries, self._block_rows)):
            reader.add_values(block)
            reader.seen += len(block)
        stream.finish()

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
