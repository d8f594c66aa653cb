"""The masks of annotated regions: polygons or run lengths, as compact as they can be kept."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regionspot_core.datasets.checks import LONGEST_SIDE, view

Rle = dict[str, Any]
"""COCO's run-length encoding: ``size`` [height, width] and ``counts``, here always bytes."""


@dataclass(frozen=True)
class Masks:
    """A mask for each of R regions, kept in the E entries of the annotation file's order."""

    xy: NDArray[np.float64]
    """The polygons' x, y, x, y, … end to end, original pixels."""
    ring_start: NDArray[np.int64]
    """Polygon ``p`` is ``xy[ring_start[p] : ring_start[p + 1]]``."""
    entry_ring: NDArray[np.int64]
    """(E + 1,): entry ``e`` owns polygons ``entry_ring[e] : entry_ring[e + 1]``."""
    counts: NDArray[np.uint8]
    """Compressed run lengths end to end."""
    entry_counts: NDArray[np.int64]
    """(E + 1,): entry ``e`` owns ``counts[entry_counts[e] : entry_counts[e + 1]]``."""
    entry: NDArray[np.int64]
    """(R,): where a region's mask is kept."""
    size: NDArray[np.int32]
    """(R, 2): height, width of a region's image in pixels."""

    @property
    def present(self) -> NDArray[np.bool_]:
        """Return (R,) whether regions have a mask."""
        kept = (np.diff(self.entry_ring) > 0) | (np.diff(self.entry_counts) > 0)
        return kept[self.entry]

    def rle(self, region: int) -> Rle | None:
        """Return the mask of the region at position ``region``; None where it has none.

        It is of the image's size. Polygons are drawn by pycocotools, as LVIS's scorer does.
        """
        from pycocotools import mask as codec

        entry = int(self.entry[region])
        height, width = (int(side) for side in self.size[region])
        counts = self.counts[slice(*self.entry_counts[entry : entry + 2])]
        if len(counts):
            return {"size": [height, width], "counts": counts.tobytes()}
        first, last = (int(ring) for ring in self.entry_ring[entry : entry + 2])
        if first == last:
            return None
        rings = [self.xy[slice(*self.ring_start[ring : ring + 2])] for ring in range(first, last)]
        drawn: list[Rle] = codec.frPyObjects(rings, height, width)
        mask: Rle = codec.merge(drawn) if len(drawn) > 1 else drawn[0]
        return mask


class MaskColumn:
    """The masks of annotations, collected one entry each."""

    def __init__(self) -> None:
        self._xy = array("d")
        self._ring_start = array("q", [0])
        self._entry_ring = array("q", [0])
        self._counts = bytearray()
        self._entry_counts = array("q", [0])
        self._rle_entry = array("q")
        self._rle_size = array("q")

    def __len__(self) -> int:
        return len(self._entry_ring) - 1

    @property
    def has_any(self) -> bool:
        """Return whether an annotation has a mask."""
        return len(self._ring_start) > 1 or len(self._counts) > 0

    def append(self, segmentation: object) -> None:
        """Add an annotation's ``segmentation``: polygons, an RLE, or nothing (None or empty).

        Raises:
            TypeError, ValueError, OverflowError: It is none of these; the column is then of no
                use any more.
        """
        if isinstance(segmentation, dict):
            self._append_rle(segmentation)
        elif segmentation:
            if not isinstance(segmentation, list):
                raise TypeError
            for ring in segmentation:
                self._append_ring(ring)
        self._entry_ring.append(len(self._ring_start) - 1)
        self._entry_counts.append(len(self._counts))

    def malformed(self, size: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return entries whose polygons are not finite, or whose RLE is not of the image's size.

        Args:
            size: (E, 2) height, width of each entry's image.
        """
        wrong = [np.zeros(0, dtype=np.int64)]
        if len(self._xy):
            xy, start = view(self._xy, np.float64), view(self._ring_start, np.int64)
            lowest = np.minimum.reduceat(xy, start[:-1])
            highest = np.maximum.reduceat(xy, start[:-1])
            rings = np.flatnonzero(~((lowest >= -LONGEST_SIDE) & (highest <= LONGEST_SIDE)))
            wrong.append(np.searchsorted(self._entry_ring, rings, side="right") - 1)
        if len(self._rle_entry):
            entries = np.array(self._rle_entry, dtype=np.int64)
            sizes = np.array(self._rle_size, dtype=np.int64).reshape(-1, 2)
            wrong.append(entries[(sizes != size[entries]).any(axis=1)])
        return np.concatenate(wrong)

    def masks(self, entry: NDArray[np.int64], size: NDArray[np.int32]) -> Masks:
        """Return the masks of R kept regions: their entries (R,) and image sizes (R, 2)."""
        return Masks(
            xy=view(self._xy, np.float64),
            ring_start=view(self._ring_start, np.int64),
            entry_ring=view(self._entry_ring, np.int64),
            counts=view(self._counts, np.uint8),
            entry_counts=view(self._entry_counts, np.int64),
            entry=entry,
            size=size,
        )

    def _append_ring(self, ring: object) -> None:
        if not isinstance(ring, list) or len(ring) < 6 or len(ring) % 2:
            raise ValueError
        self._xy.extend(ring)
        self._ring_start.append(len(self._xy))

    def _append_rle(self, rle: Rle) -> None:
        height, width = rle["size"]
        counts = rle["counts"]
        if not 0 < height <= LONGEST_SIDE or not 0 < width <= LONGEST_SIDE:
            raise ValueError
        runs = decode_runs(counts) if isinstance(counts, str) else array("q", counts)
        # Checked here, since pycocotools writes beyond its memory where they say too much.
        if min(runs) < 0 or sum(runs) != height * width:
            raise ValueError
        self._counts += encode_runs(height, width, runs)
        self._rle_entry.append(len(self))
        self._rle_size.extend((height, width))


def decode_runs(text: str) -> array[int]:
    """Return the run lengths in COCO's compressed string.

    Five bits a character from 48 (``"0"``) on, the lowest first; 32 says that more follow, and the
    last character's 16 is the sign. From the fourth run on, the difference to the run two before.

    Raises:
        ValueError: If the string is not such a code.
    """
    runs, value, shift = array("q"), 0, 0
    for byte in text.encode("ascii"):
        bits = byte - 48
        if not 0 <= bits < 64 or shift > 30:
            raise ValueError
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError
    return runs


def encode_runs(height: int, width: int, runs: array[int]) -> bytes:
    """Return COCO's compressed string of run lengths that sum to ``height * width``."""
    from pycocotools import mask as codec

    rle: Rle = codec.frPyObjects({"size": [height, width], "counts": runs.tolist()}, height, width)
    return bytes(rle["counts"])
