"""Labelled regions of stores, and those among them that look most like a region to CLIP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from regionspot_app.config import MIB
from regionspot_core.cache.layout.schema import REGION_EMBEDDING
from regionspot_core.cache.read.store_reader import StoreReader
from regionspot_core.cache.storage.arrays import READ_ERRORS
from regionspot_core.cache.storage.store import open_store
from regionspot_core.errors import RegionSpotError
from regionspot_core.fingerprint import Fingerprint, differences
from regionspot_core.region_tokens import EmbeddingSource

MOST_BYTES = 512 * MIB
"""Memory for the embeddings of all stores: half a million regions of a CLIP with 512 values."""
ROWS_AT_ONCE = 16_384
FLOAT16_BYTES = 2


@dataclass(frozen=True)
class Neighbour:
    """One labelled region of a store."""

    name: str
    similarity: float
    """Cosine of CLIP's embeddings of both regions."""
    file: str
    """Name of the image file, as the store has it."""
    file_bytes: int | None
    """Size of that file when the store was planned; None where it is not known."""
    box: tuple[float, float, float, float]
    """xyxy, original pixels."""
    store: str


@dataclass(frozen=True)
class Nearest:
    """The answer of a search."""

    neighbours: tuple[Neighbour, ...]
    """The nearest first."""
    searched: int
    """Regions that were compared."""
    labelled: int
    """Regions that the stores which can be searched have."""
    note: str | None
    """What could not be searched, and why, in sentences; None where all was."""


class Neighbours:
    """Labelled regions of some stores. They are read when first searched, and kept.

    Not for several threads at once.

    Args:
        stores: Folders or URLs.
        backbones: Record of the frozen models that embed what is searched for.
        most_bytes: Memory for embeddings. Of stores with more, evenly spaced regions are kept.

    Raises:
        CacheError: If there is no store, or some of its parts are not written yet.
    """

    def __init__(
        self, stores: Sequence[str], backbones: Fingerprint, *, most_bytes: int = MOST_BYTES
    ) -> None:
        readers = [StoreReader(open_store(store)) for store in stores]
        obstacles = [_obstacle(reader, backbones) for reader in readers]
        self._readers = [
            reader for reader, each in zip(readers, obstacles, strict=True) if each is None
        ]
        self._obstacles = [each for each in obstacles if each is not None]
        if not stores:
            self._obstacles = ["No store was given; start the app with --cache STORE."]
        self._most_bytes = most_bytes
        self._labelled = sum(int(reader.region_counts.sum()) for reader in self._readers)
        self._kept: list[_KeptRegions] | None = None

    @property
    def sources(self) -> frozenset[EmbeddingSource]:
        """Return how CLIP embedded the regions of the stores that can be searched."""
        return frozenset(_source(reader) for reader in self._readers)

    def nearest(self, embeddings: Mapping[EmbeddingSource, torch.Tensor], count: int) -> Nearest:
        """Return the labelled regions nearest to a region.

        A store that cannot be read any more is told of in the note, and tried again next time.

        Args:
            embeddings: CLIP's embeddings (D,) of the region, float32 of length 1, by each of
                :attr:`sources`.
            count: Most regions that are wanted.
        """
        if self._kept is None:
            try:
                self._kept = [_KeptRegions(reader, self._share(reader)) for reader in self._readers]
            except RegionSpotError as error:
                return Nearest((), 0, self._labelled, str(error))
        kept = self._kept
        found = [
            (similarity, store, row)
            for store, regions in enumerate(kept)
            for similarity, row in regions.nearest(embeddings[regions.source], count)
        ]
        found.sort(key=lambda each: -each[0])
        searched = sum(map(len, kept))
        notes = list(self._obstacles)
        if searched < self._labelled:
            notes.append(
                f"Searched {searched:,} of {self._labelled:,} labelled regions, evenly spaced: "
                f"more do not fit into the memory for them."
            )
        return Nearest(
            tuple(
                kept[store].neighbour(row, similarity) for similarity, store, row in found[:count]
            ),
            searched,
            self._labelled,
            " ".join(notes) or None,
        )

    def _share(self, reader: StoreReader) -> int:
        """Return how many of a store's regions are kept."""
        count = int(reader.region_counts.sum())
        row_bytes = FLOAT16_BYTES * max(each.plan.shape.region_embedding for each in self._readers)
        most = max(1, self._most_bytes // row_bytes)
        return count if self._labelled <= most else max(1, count * most // self._labelled)


class _KeptRegions:
    """Embeddings of a store's regions in memory, with what is told of each.

    Args:
        reader: The store.
        count: Number of regions that are kept, evenly spaced among all.

    Raises:
        CacheDamagedError: If a file of the store is missing, or does not match its checksum.
    """

    def __init__(self, reader: StoreReader, count: int) -> None:
        self.source = _source(reader)
        place, classes = reader.region_classes()
        picked = np.linspace(0, max(0, len(place) - 1), min(count, len(place))).astype(np.int64)
        rows = reader.region_rows()[picked]
        positions = reader.positions[place[picked]]
        self._embeddings_ND = torch.empty(
            (len(rows), reader.plan.shape.region_embedding), dtype=torch.float16
        )
        for begin in range(0, len(rows), ROWS_AT_ONCE):
            some = slice(begin, begin + ROWS_AT_ONCE)
            try:
                values = reader.begin_rows(REGION_EMBEDDING, rows[some]).result()
            except READ_ERRORS as error:
                raise reader.damaged(positions[some], error) from None
            self._embeddings_ND[some] = torch.from_numpy(np.ascontiguousarray(values))
        self._store = str(reader.store)
        self._names = reader.vocabulary.names
        self._classes = classes[picked].astype(np.int32)
        self._positions = positions.astype(np.int32)
        self._boxes: NDArray[np.float32] = reader.small["region/box"][rows]
        self._files = reader.file_names()
        self._file_bytes = reader.file_bytes()

    def __len__(self) -> int:
        return len(self._classes)

    def nearest(self, embedding_D: torch.Tensor, count: int) -> list[tuple[float, int]]:
        """Return cosine and row of the nearest regions, the nearest first."""
        blocks = torch.split(self._embeddings_ND, ROWS_AT_ONCE)  # one at a time as float32
        similarities_N = torch.cat([block.float() @ embedding_D for block in blocks])
        best = similarities_N.topk(min(count, len(self)))
        return list(zip(best.values.tolist(), best.indices.tolist(), strict=True))

    def neighbour(self, row: int, similarity: float) -> Neighbour:
        """Return what is told of a region."""
        file = self._files[self._positions[row]]
        x1, y1, x2, y2 = self._boxes[row].tolist()
        return Neighbour(
            name=self._names[self._classes[row]],
            similarity=min(similarity, 1.0),  # float16 rounds a length a little above 1
            file=file,
            file_bytes=self._file_bytes.get(file),
            box=(x1, y1, x2, y2),
            store=self._store,
        )


def _source(reader: StoreReader) -> EmbeddingSource:
    kept = reader.plan.keep.region_embedding
    assert kept != "auto"
    assert kept != "none"  # _obstacle has seen to both
    return kept


def _obstacle(reader: StoreReader, backbones: Fingerprint) -> str | None:
    """Return why a store's regions cannot be searched, as a sentence; None where they can."""
    if not reader.labelled:
        return f"{reader.store}: its regions have no labels."
    if reader.plan.keep.region_embedding in ("auto", "none"):
        return (
            f"{reader.store}: it keeps no CLIP embeddings of its regions; extract it with "
            f"--region-embedding tokens."
        )
    if differences(backbones, reader.fingerprint["backbones"]):
        return f"{reader.store}: it was extracted by other frozen models than the app's."
    return None
