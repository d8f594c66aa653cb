"""Expected checksums of a part's chunks, and rows that are checked against them.

A chunk's own checksum does not show which image it is of. The part's marker has the checksums of
its chunks, and the store's summary has those of all markers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from regionspot_core.cache.layout.plan import CachePlan
from regionspot_core.cache.layout.schema import PartArray, part_arrays
from regionspot_core.cache.read.local_array import ANOTHERS
from regionspot_core.cache.storage.markers import (
    Complete,
    Marker,
    damaged,
    marker_key,
    unsealed_marker,
)
from regionspot_core.cache.storage.store import Store
from regionspot_core.support.checksums import SEAL
from regionspot_core.support.records import parse_object


class PartSums:
    """The sums of a finished store's chunks, from its markers, each read when first needed.

    Args:
        store: The store.
        plan: Its plan.
        complete: Its summary. An earlier version's has no checksums of markers, and its markers
            have none of chunks: none is read.
        markers: Markers that were read already.
    """

    def __init__(
        self, store: Store, plan: CachePlan, complete: Complete, markers: Iterable[Marker] = ()
    ) -> None:
        self._store = store
        self._plan = plan
        self._seals = complete.seals
        self._arrays = list(part_arrays(plan).values())
        self._known: dict[int, dict[str, NDArray[np.uint32]]] = {}
        for marker in markers:
            self._keep(marker)

    def __call__(self, part: int, name: str) -> NDArray[np.uint32] | None:
        """Return the CRC-32C of each chunk of a part's file; None in an earlier version's store.

        Raises:
            CacheDamagedError: If the part's marker is missing, damaged, or not the store's.
        """
        if not self._seals:
            return None
        if part not in self._known:
            self.fetch([part])
        return self._known[part][name]

    def fetch(self, parts: Iterable[int]) -> None:
        """Read the markers of some parts at once.

        Raises:
            CacheDamagedError: If one is missing, damaged, or not the store's.
        """
        unknown = [part for part in parts if self._seals and part not in self._known]
        keys = [marker_key(part) for part in unknown]
        contents = self._store.read_many(keys) if keys else []
        for part, key, content in zip(unknown, keys, contents, strict=True):
            if content is None:
                raise damaged(self._store, key, "missing")
            marker = unsealed_marker(self._store, self._plan, part, content, self._arrays)
            if parse_object(content)[SEAL] != self._seals[8 * part : 8 * part + 8]:
                raise damaged(self._store, key, "not the one that the store was finished with")
            self._keep(marker)

    def _keep(self, marker: Marker) -> None:
        self._known[marker.part] = {
            name: np.frombuffer(bytes.fromhex(sums), "<u4") for name, sums in marker.chunks.items()
        }


class CheckedRows:
    """Rows of a part array on their way through TensorStore, whole chunks at a time.

    Args:
        opened: The array in TensorStore.
        array: Its layout by the plan.
        sums: Expected checksums of its chunks.
        rows: (N,) along axis 0.
        copies: (N,) along axis 1, where the array has jittered copies; None elsewhere.
    """

    def __init__(
        self,
        opened: Any,  # noqa: ANN401 - TensorStore is untyped
        array: PartArray,
        sums: PartSums,
        rows: NDArray[np.int64],
        copies: NDArray[np.int64] | None = None,
    ) -> None:
        self._array = array
        self._sums = sums
        self._length = array.chunk[0]
        self._beside = 1 if copies is None else array.shape[1]
        chunk = rows // self._length * self._beside + (0 if copies is None else copies)
        self._chunks, inverse = np.unique(chunk, return_inverse=True)
        self._take = inverse * self._length + rows % self._length
        first, copy = np.divmod(self._chunks, self._beside)
        whole = (first[:, None] * self._length + np.arange(self._length)).ravel()
        if copies is None:
            self._pending = opened[whole].read()
        else:
            self._pending = opened.vindex[whole, np.repeat(copy, self._length)].read()

    def result(self) -> NDArray[Any]:
        """Return (N, …) the rows.

        Raises:
            ValueError: If a chunk is damaged, or another part's.
            CacheDamagedError: If a part's marker is damaged.
        """
        shard_chunks = self._array.shard[0] // self._length * self._beside
        parts, places = np.divmod(self._chunks, shard_chunks)
        self._sums.fetch(np.unique(parts).tolist())
        values = np.asarray(self._pending.result())
        chunks = np.ascontiguousarray(values).reshape(len(self._chunks), -1).view(np.uint8)
        for part, place, chunk in zip(parts.tolist(), places.tolist(), chunks, strict=True):
            wanted = self._sums(part, self._array.name)
            if wanted is not None and google_crc32c.value(chunk) != wanted[place]:
                raise ValueError(f"{self._array.name}: {ANOTHERS}")
        return np.asarray(values[self._take])
