"""Reading finished caches as padded batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from regionspot_core.cache.layout.plan import CachePlan
from regionspot_core.cache.layout.schema import NEGATIVE, NOT_EXHAUSTIVE
from regionspot_core.cache.location import Location
from regionspot_core.cache.read.batch import FeatureBatch
from regionspot_core.cache.read.store_reader import ReadRequest, StoreReader
from regionspot_core.cache.storage.markers import FailedImage
from regionspot_core.cache.storage.store import open_store
from regionspot_core.datasets.class_lists import ClassLists
from regionspot_core.datasets.file_sample import sample_files
from regionspot_core.datasets.vocabulary import Vocabulary
from regionspot_core.errors import CacheError, InputError
from regionspot_core.fingerprint import Fingerprint, require_equal
from regionspot_core.support.fault_points import reach
from regionspot_core.text.class_bank import ClassBank

Indices = Sequence[int] | NDArray[np.integer]


class FeatureCache:
    """Finished stores as one sequence of images, without the images that could not be read.

    Args:
        stores: A folder or URL, or several of stores made by the same backbones, with the same
            vocabulary, tokens and views; their images come one store after the other.

    Raises:
        CacheError: If there is no store, or some of its parts are not written yet.
        FingerprintError: If stores differ in what they must have in common.
    """

    def __init__(self, stores: Location | Sequence[Location]) -> None:
        several = [stores] if isinstance(stores, Location) else list(stores)
        if not several:
            raise InputError("a feature cache needs at least one store, got an empty list")
        self.stores = tuple(StoreReader(open_store(store)) for store in several)
        first = self.stores[0]
        for other in self.stores[1:]:
            require_equal(
                first.shared,
                other.shared,
                what=f"{first.store} and {other.store} cannot be read as one",
                advice="Give stores of the same models, options and classes",
            )
        self._begin = np.cumsum([0, *(len(store) for store in self.stores)])

    def __len__(self) -> int:
        return int(self._begin[-1])

    @property
    def fingerprint(self) -> Fingerprint:
        """Origin of the (first) store: models, weights, annotations."""
        return self.stores[0].fingerprint

    def require_labels(self, use: str) -> None:
        """Refuse stores whose regions have no classes.

        Args:
            use: What the labels are needed for: ``learn from``.

        Raises:
            CacheError: If a store was extracted without annotations.
        """
        for store in self.stores:
            if not store.labelled:
                raise CacheError(
                    f"{store.store}: its regions have no labels to {use}, as it was extracted from "
                    f"--proposals; extract with --annotations instead"
                )

    def file_sample(self) -> dict[str, int]:
        """Return the bytes of a few image files, by name, as they were when planned."""
        sizes = self.stores[0].file_bytes()
        return {name: sizes[name] for name in sample_files(sizes)}

    @property
    def plan(self) -> CachePlan:
        """Shapes of the (first) store."""
        return self.stores[0].plan

    @property
    def vocabulary(self) -> Vocabulary:
        """The classes that ``FeatureBatch.classes`` counts."""
        return self.stores[0].vocabulary

    @property
    def failed(self) -> tuple[FailedImage, ...]:
        """The images that are left out, of all stores."""
        return tuple(failure for store in self.stores for failure in store.failed)

    @property
    def image_ids(self) -> NDArray[np.int64]:
        """(len,) the annotations' number of each image of the sequence."""
        return np.concatenate([store.image_ids for store in self.stores])

    @cached_property
    def region_counts(self) -> NDArray[np.int64]:
        """(len,) regions of each image of the sequence."""
        return np.concatenate([store.region_counts for store in self.stores])

    def region_classes(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return (R,) the image of the sequence and (R,) the class index of every region."""
        of_stores = [store.region_classes() for store in self.stores]
        return (
            np.concatenate(
                [place + n for (place, _), n in zip(of_stores, self._begin, strict=False)]
            ),
            np.concatenate([classes for _, classes in of_stores]),
        )

    @cached_property
    def part_of(self) -> NDArray[np.int64]:
        """(len,) the part of each image, counted through all stores: what lies in one file."""
        before = np.cumsum([0, *(store.plan.part_count for store in self.stores)])
        return np.concatenate(
            [store.part_of + n for store, n in zip(self.stores, before[:-1], strict=True)]
        )

    @cached_property
    def negative(self) -> ClassLists | None:
        """The classes that images are known not to show; None where a store does not say."""
        return self._class_lists(NEGATIVE)

    @cached_property
    def not_exhaustive(self) -> ClassLists | None:
        """The classes of which images may show more than are annotated; None likewise."""
        return self._class_lists(NOT_EXHAUSTIVE)

    def class_bank(self) -> ClassBank:
        """Read the embeddings of the vocabulary's names, written by extraction."""
        return self.stores[0].class_bank()

    def read(
        self,
        indices: Indices,
        *,
        flipped: NDArray[np.bool_] | None = None,
        copy: NDArray[np.integer] | None = None,
    ) -> FeatureBatch:
        """Return the images at ``indices`` of the sequence, in that order.

        Args:
            indices: (B,) places in the sequence.
            flipped: (B,) which images to read mirrored, where the stores keep that view.
            copy: (B,) 0 for an image's own boxes, k for their k-th jittered copies.

        Raises:
            CacheDamagedError: If a chunk does not match its checksum; the images are named.
            InputError: If the stores do not keep such views.
        """
        wanted = np.asarray(indices, dtype=np.int64)
        reach("read images", len(wanted))
        flips = np.zeros(len(wanted), dtype=bool) if flipped is None else np.asarray(flipped)
        copies = np.zeros(len(wanted), dtype=np.int64) if copy is None else np.asarray(copy)
        self._require_views(flips, copies)
        if wanted.size and not (wanted.min() >= 0 and wanted.max() < len(self)):
            raise IndexError(
                f"expected indices in 0 … {len(self) - 1}, got {wanted.min()} … {wanted.max()}"
            )
        width = max(1, int(self.region_counts[wanted].max(initial=0)))
        negative = self._negative_classes(wanted)
        owner = np.searchsorted(self._begin, wanted, side="right") - 1
        places = [np.flatnonzero(owner == each) for each in range(len(self.stores))]
        pending = [
            store.begin_read(
                ReadRequest(
                    wanted[at] - self._begin[each], flips[at], copies[at], width, negative[at]
                )
            )
            for each, (store, at) in enumerate(zip(self.stores, places, strict=True))
            if len(at) or len(self.stores) == 1
        ]
        batches = [read.result() for read in pending]
        if len(batches) == 1:
            return batches[0]
        back = torch.from_numpy(np.argsort(np.concatenate(places), kind="stable"))
        joined = {
            field.name: torch.cat([getattr(batch, field.name) for batch in batches])[back]
            for field in fields(FeatureBatch)
        }
        return FeatureBatch(**joined)

    def _class_lists(self, name: str) -> ClassLists | None:
        lists = [store.class_lists(name) for store in self.stores]
        known = [each for each in lists if each is not None]
        return ClassLists.joined(known) if len(known) == len(lists) else None

    def _negative_classes(self, wanted: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return (B, N) of the same width in every batch, so that batches can be put together."""
        if self.negative is None:
            return np.zeros((len(wanted), 0), dtype=np.int64)
        return self.negative.padded(wanted, self.negative.longest)

    def _require_views(self, flipped: NDArray[np.bool_], copy: NDArray[np.integer]) -> None:
        keep = self.plan.keep
        if flipped.any() and not keep.flip:
            raise InputError(
                f"{self.stores[0].store} keeps no mirrored view; extract it with --flip"
            )
        if copy.size and not 0 <= copy.min() <= copy.max() <= keep.jitter:
            raise InputError(
                f"{self.stores[0].store} keeps {keep.jitter} jittered copies of each box, asked "
                f"for {copy.min()} … {copy.max()}; extract it with --jitter"
            )
