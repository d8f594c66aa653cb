"""Reading one finished store."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from regionspot_core.cache.layout.encodings.encoding import Encoding
from regionspot_core.cache.layout.plan import CachePlan
from regionspot_core.cache.layout.schema import (
    CLASS_BANK,
    FLIPPED,
    GROUP,
    features,
    part_arrays,
    scale_name,
    start_name,
)
from regionspot_core.cache.layout.small import read_small
from regionspot_core.cache.read.batch import FeatureBatch
from regionspot_core.cache.read.local_array import LocalArray, LocalRows
from regionspot_core.cache.read.part_sums import CheckedRows, PartSums
from regionspot_core.cache.storage.arrays import (
    READ_ERRORS,
    begin_open,
    read_header,
)
from regionspot_core.cache.storage.markers import (
    Complete,
    Marker,
    damaged,
    read_complete,
    require_markers,
    summarise,
)
from regionspot_core.cache.storage.store import FolderStore, Store
from regionspot_core.datasets.class_lists import ClassLists
from regionspot_core.datasets.vocabulary import Vocabulary
from regionspot_core.errors import CacheDamagedError
from regionspot_core.fingerprint import Fingerprint, is_labelled
from regionspot_core.imaging.boxes import mirror
from regionspot_core.region_tokens import MASK_SIDE
from regionspot_core.support.checksums import FileSum
from regionspot_core.support.error_text import first_line
from regionspot_core.text.class_bank import ClassBank

DIRECT = hasattr(os, "preadv")
"""Whether this system can read shard files in folders without TensorStore."""


class StoreReader:
    """A finished store. Arrays are opened when first read, so that opening it is quick.

    Raises:
        CacheError: If there is no store, or some of its parts are not written yet.
    """

    def __init__(self, store: Store) -> None:
        header = read_header(store)
        self.store = store
        self.fingerprint: Fingerprint = header.attributes["fingerprint"]
        self.vocabulary = Vocabulary.from_json(header.attributes["vocabulary"])
        self.plan = header.plan
        self._files = header.files
        complete, markers = _complete(store, self.plan)
        self.failed = complete.failed
        self._sums = PartSums(store, self.plan, complete, markers)
        present = np.ones(self.plan.image_count, dtype=bool)
        present[[failure.position for failure in self.failed]] = False
        self._positions = np.flatnonzero(present)
        self._features = features(self.plan)
        self._stored = part_arrays(self.plan)
        self._opened: dict[str, Any] = {}
        self._local_opened: dict[str, LocalArray] = {}

    def __len__(self) -> int:
        return len(self._positions)

    @property
    def labelled(self) -> bool:
        """Return whether its regions have classes; without, they were extracted from proposals."""
        return is_labelled(self.fingerprint)

    def file_names(self) -> list[str]:
        """Return the names of its image files, unreadable ones included."""
        text, start = self._read_small("image/file").tobytes(), self._read_small("image/file_start")
        return [text[first:last].decode(errors="replace") for first, last in pairwise(start)]

    def file_bytes(self) -> dict[str, int]:
        """Return the bytes of its image files, by name, as planned; those that are known."""
        sizes = self._read_small("image/bytes").tolist()
        return {n: size for n, size in zip(self.file_names(), sizes, strict=True) if size >= 0}

    @property
    def positions(self) -> NDArray[np.int64]:
        """(len,) the planned place of each image that is there, as :meth:`file_names` counts."""
        return self._positions

    @property
    def image_ids(self) -> NDArray[np.int64]:
        """(len,) of the annotations, of each image that is there."""
        return np.asarray(self.small["image/id"][self._positions], dtype=np.int64)

    @cached_property
    def region_counts(self) -> NDArray[np.int64]:
        """(len,) regions of each of its images."""
        return self.plan.region_count[self._positions]

    @property
    def part_of(self) -> NDArray[np.int64]:
        """(len,) the part of each of its images."""
        return self._positions // self.plan.part_images

    def region_classes(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return (R,) the place among its images and (R,) the class index of every region."""
        place = np.repeat(np.arange(len(self)), self.region_counts)
        return place, self.small["region/class"][self.region_rows()].astype(np.int64)

    def region_rows(self) -> NDArray[np.int64]:
        """Return (R,) the row in the store's arrays of every region of its images, in order."""
        counts = self.region_counts
        first = np.repeat(np.cumsum(counts) - counts, counts)
        start = np.repeat(self.plan.region_start[self._positions], counts)
        return np.asarray(start + np.arange(len(start)) - first, dtype=np.int64)

    @property
    def shared(self) -> dict[str, Any]:
        """Record that stores must share to be read as one; their encodings may differ."""
        keep = self.plan.keep.to_json()
        del keep["dtype"]
        return {
            "backbones": self.fingerprint["backbones"],
            "shape": dict(vars(self.plan.shape)),
            "keep": keep,
            "classes": self.vocabulary.to_json() | {"text": self.fingerprint.get("classes")},
        }

    def class_bank(self) -> ClassBank:
        """Return the embeddings of the vocabulary's names.

        Raises:
            CacheDamagedError: If the file is missing, or is not what was written.
        """
        content = self.store.read(CLASS_BANK)
        if content is None or FileSum.of([content]) != self._files[CLASS_BANK]:
            raise damaged(self.store, CLASS_BANK, "missing" if content is None else "damaged")
        return ClassBank.load(io.BytesIO(content), name=f"{self.store}/{CLASS_BANK}")

    def begin_read(self, request: ReadRequest) -> PendingBatch:
        """Begin to read a batch."""
        return PendingBatch(self, self._positions[request.places], request)

    def class_lists(self, name: str) -> ClassLists | None:
        """Read one of the schema's ``CLASS_LISTS``; None if the store has none.

        Raises:
            CacheDamagedError: If it is not what was written.
        """
        if f"{name}/{GROUP}" not in self._files:
            return None
        values, start = (self._read_small(each) for each in (name, start_name(name)))
        planned = ClassLists(values, start)
        return ClassLists.of([planned[position] for position in self._positions.tolist()])

    def begin_rows(self, name: str, rows: NDArray[np.int64]) -> PendingRows:
        """Begin to read rows of a feature."""
        if isinstance(self.store, FolderStore) and DIRECT:
            return self._begin(name, lambda each: self._local(each).begin(rows), taken=0)
        return self._begin(name, lambda each: self._checked(each, rows), taken=0)

    def begin_copies(
        self, name: str, rows: NDArray[np.int64], copies: NDArray[np.int64]
    ) -> PendingRows:
        """Begin to read one jittered copy of each of a feature's rows, counted from 0."""
        return self._begin(name, lambda each: self._checked(each, rows, copies), taken=1)

    @cached_property
    def small(self) -> dict[str, NDArray[Any]]:
        """The small arrays that batches are made of, by name."""
        names = ("image/id", "image/size", "region/class", "region/box", "region/annotation")
        return {name: self._read_small(name) for name in names}

    def _read_small(self, name: str) -> NDArray[Any]:
        return read_small(self.store, name, self._files)

    def damaged(self, positions: NDArray[np.int64], error: Exception) -> CacheDamagedError:
        """Return the error that names parts and images of chunks that cannot be read."""
        parts = sorted({int(position) // self.plan.part_images for position in positions})
        ids = ", ".join(str(image_id) for image_id in self.small["image/id"][positions][:4])
        return CacheDamagedError(
            f"{self.store}: stored tokens are damaged in part {' or '.join(map(str, parts))} "
            f"(images {ids}, …): {first_line(error)}"
        )

    def _begin(self, name: str, begin: Callable[[str], Any], *, taken: int) -> PendingRows:
        axis, encoding = self._features[name].scale_axis, self.plan.keep.encoding
        if axis is None or encoding.is_identity:
            return PendingRows(begin(name))
        # The scales first: with them the first rows can be decoded while the others come.
        scales = begin(scale_name(name)) if encoding.scale_shape else None
        return PendingRows(begin(name), scales, encoding, axis - taken)

    def _local(self, name: str) -> LocalArray:
        assert isinstance(self.store, FolderStore)
        if name not in self._local_opened:
            array = self._stored[name]
            self._local_opened[name] = LocalArray(self.store.folder, array, self._sums)
        return self._local_opened[name]

    def _checked(
        self, name: str, rows: NDArray[np.int64], copies: NDArray[np.int64] | None = None
    ) -> CheckedRows:
        return CheckedRows(self._array(name), self._stored[name], self._sums, rows, copies)

    def _array(self, name: str) -> Any:  # noqa: ANN401 - TensorStore is untyped
        if name not in self._opened:
            self._opened[name] = begin_open(self.store, name).result()
        return self._opened[name]


@dataclass(frozen=True)
class PendingRows:
    """Rows of a feature on their way."""

    rows: Any
    scales: Any = None
    """None for an encoding without scales."""
    encoding: Encoding | None = None
    """None for values that are stored as they are."""
    axis: int = 0
    """Axis that shares a scale."""

    def result(self) -> NDArray[Any]:
        """Wait for the rows, and decode them."""
        if self.encoding is None:
            return np.asarray(self.rows.result())
        scales = None if self.scales is None else np.asarray(self.scales.result())
        if not (isinstance(self.rows, LocalRows) and self.rows.in_order):
            return self.encoding.decoded(np.asarray(self.rows.result()), scales, axis=self.axis)
        out = np.empty(self.rows.shape, dtype=np.float16)
        # Each block is decoded while the disk fetches the next ones.
        for place, values in self.rows.blocks():
            its_scales = None if scales is None else scales[place]
            self.encoding.decode(values, its_scales, axis=self.axis, out=out[place])
        return out


@dataclass(frozen=True)
class ReadRequest:
    """B images of one store, and the views that a batch takes of them."""

    places: NDArray[np.int64]
    """(B,) places in the store's sequence of images."""
    flipped: NDArray[np.bool_]
    """(B,) whether an image is read mirrored."""
    copy: NDArray[np.integer]
    """(B,) 0 for an image's own boxes, k for their k-th jittered copies."""
    width: int
    """R, rows of regions that each image of the batch has, padding among them."""
    negative_classes: NDArray[np.int64]
    """(B, N), as in the batch; N depends on the other stores too."""


@dataclass(frozen=True)
class Share:
    """Images or regions of a batch that come from one array."""

    select: NDArray[np.bool_]
    pending: PendingRows


class PendingBatch:
    """A batch of one store on its way: everything is asked for before anything is awaited."""

    def __init__(
        self, store: StoreReader, positions: NDArray[np.int64], request: ReadRequest
    ) -> None:
        plan = store.plan
        self._store = store
        self._positions = positions
        slots = np.arange(request.width)
        self._mask = slots < plan.region_count[positions][:, None]
        self._rows = (plan.region_start[positions][:, None] + slots)[self._mask]
        self._image = np.nonzero(self._mask)[0]
        self._flipped = request.flipped
        self._copy = np.asarray(request.copy[self._image], dtype=np.int64)
        self._negative = request.negative_classes
        self._images: list[Share] = []
        self._regions: list[Share] = []
        self._embeddings: list[Share] = []
        self._masks: list[Share] = []
        self._jittered_boxes: list[Share] = []
        try:
            self._ask()
        except READ_ERRORS as error:
            raise store.damaged(positions, error) from None

    def result(self) -> FeatureBatch:
        """Wait for the batch.

        Raises:
            CacheDamagedError: If a chunk is missing or does not match its checksum.
        """
        store, shape = self._store, self._store.plan.shape
        count = len(self._rows)
        try:
            images = _joined(
                self._images, (len(self._positions), shape.image_tokens, shape.image_width)
            )
            tokens = _joined(self._regions, (count, shape.region_tokens, shape.region_width))
            embeddings = _joined(self._embeddings, (count, shape.region_embedding))
            side = MASK_SIDE if store.plan.keep.region_masks else 0
            masks = _joined(self._masks, (count, side, side), np.uint8)
            boxes = self._boxes()
        except READ_ERRORS as error:
            raise store.damaged(self._positions, error) from None
        classes = store.small["region/class"][self._rows].astype(np.int64)
        return FeatureBatch(
            image_tokens=torch.from_numpy(images),
            region_tokens=self._padded(tokens, 0),
            region_embeddings=self._padded(embeddings, 0),
            region_masks=self._padded(masks, 0),
            mask=torch.from_numpy(self._mask),
            classes=self._padded(classes, -1),
            boxes=self._padded(boxes, 0),
            annotation_ids=self._padded(store.small["region/annotation"][self._rows], -1),
            image_ids=torch.from_numpy(store.small["image/id"][self._positions]),
            image_sizes=torch.from_numpy(
                store.small["image/size"][self._positions].astype(np.int64)
            ),
            negative_classes=torch.from_numpy(self._negative),
        )

    def _ask(self) -> None:
        jittered = self._copy > 0
        for view, images in (("", ~self._flipped), (FLIPPED, self._flipped)):
            if images.any():
                rows = self._store.begin_rows(f"{view}clip/tokens", self._positions[images])
                self._images.append(Share(images, rows))
            own = images[self._image] & ~jittered
            copies = images[self._image] & jittered
            for name, shares in self._of_regions():
                if own.any():
                    rows = self._store.begin_rows(f"{view}region/{name}", self._rows[own])
                    shares.append(Share(own, rows))
                if copies.any():
                    shares.append(self._copies(f"{view}region/jittered/{name}", copies))
        if jittered.any():
            self._jittered_boxes.append(self._copies("region/jittered/box", jittered))

    def _of_regions(self) -> list[tuple[str, list[Share]]]:
        """Return the features that every region has in each view, and where their shares go."""
        found = [("tokens", self._regions)]
        if self._store.plan.shape.region_embedding:
            found.append(("clip", self._embeddings))
        if self._store.plan.keep.region_masks:
            found.append(("mask", self._masks))
        return found

    def _copies(self, name: str, select: NDArray[np.bool_]) -> Share:
        rows, copies = self._rows[select], self._copy[select] - 1
        return Share(select, self._store.begin_copies(name, rows, copies))

    def _boxes(self) -> NDArray[np.float32]:
        boxes = np.asarray(self._store.small["region/box"][self._rows])
        for share in self._jittered_boxes:
            boxes[share.select] = share.pending.result()
        mirrored = self._flipped[self._image]
        width = self._store.small["image/size"][self._positions[self._image], 1]
        boxes[mirrored] = mirror(boxes[mirrored], width[mirrored])
        return boxes

    def _padded(self, values: NDArray[Any], fill: int) -> torch.Tensor:
        out = np.full((*self._mask.shape, *values.shape[1:]), fill, dtype=values.dtype)
        out[self._mask] = values
        return torch.from_numpy(out)


def _joined(
    shares: list[Share], shape: tuple[int, ...], dtype: type[np.generic] = np.float16
) -> NDArray[Any]:
    """Return the rows of all shares, each in its place; a single share is not copied."""
    if len(shares) == 1 and shares[0].select.all():
        return shares[0].pending.result()
    out = np.zeros(shape, dtype=dtype)
    for share in shares:
        out[share.select] = share.pending.result()
    return out


def _complete(store: Store, plan: CachePlan) -> tuple[Complete, list[Marker]]:
    """Return the store's summary, and the markers that had to be read for it."""
    complete = read_complete(store, plan)
    if complete is not None:
        return complete, []
    # All parts may be there, and the run that wrote the last one killed before it said so.
    markers = require_markers(store, plan)
    return summarise(markers), markers
