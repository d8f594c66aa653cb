"""Reading a finished cache as padded batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from regionspot_core.cache.fingerprint import Fingerprint
from regionspot_core.cache.markers import FailedImage, read_markers
from regionspot_core.cache.plan import CachePlan, TokenShape
from regionspot_core.cache.schema import CLASS_BANK, open_group, open_token_array, whole_array
from regionspot_core.class_bank import ClassBank
from regionspot_core.errors import CacheDamagedError, CacheError
from regionspot_core.vocabulary import Vocabulary


@dataclass(frozen=True)
class FeatureBatch:
    """The features of B images; R is the largest region count among them, at least 1."""

    image_tokens: torch.Tensor
    """(B, T, C) float16"""
    region_tokens: torch.Tensor
    """(B, R, M, S) float16, zeros where padded"""
    mask: torch.Tensor
    """(B, R) bool, True where there is a region"""
    classes: torch.Tensor
    """(B, R) int64 class indices, -1 where padded"""
    boxes: torch.Tensor
    """(B, R, 4) float32 xyxy in original pixels, zeros where padded"""
    annotation_ids: torch.Tensor
    """(B, R) int64, -1 where padded"""
    image_ids: torch.Tensor
    """(B,) int64"""

    def __len__(self) -> int:
        return len(self.image_ids)


class FeatureCache:
    """A finished store as a sequence of images, those that could not be read left out.

    Raises:
        CacheError: There is no store, or some of its parts are not written yet.
    """

    def __init__(self, store: Path | str) -> None:
        store = Path(store)
        group, attributes = open_group(store)
        self.store = store
        self.fingerprint: Fingerprint = attributes["fingerprint"]
        self.vocabulary = Vocabulary.from_json(attributes["vocabulary"])
        self.plan = CachePlan(
            region_count=whole_array(group, "region/count"),
            shape=TokenShape(**attributes["plan"]["shape"]),
            part_images=attributes["plan"]["part_images"],
        )
        self.failed = _failed_images(store, self.plan)
        present = np.ones(self.plan.image_count, dtype=bool)
        present[[failure.position for failure in self.failed]] = False
        self._positions = np.flatnonzero(present)
        self._start = whole_array(group, "region/start")
        self._image_id = whole_array(group, "image/id")
        self._class = whole_array(group, "region/class").astype(np.int64)
        self._box = whole_array(group, "region/box")
        self._annotation = whole_array(group, "region/annotation")
        self._image_tokens = open_token_array(store, "clip/tokens")
        self._region_tokens = open_token_array(store, "region/tokens")

    def __len__(self) -> int:
        return len(self._positions)

    @property
    def region_counts(self) -> NDArray[np.int64]:
        """(len,) regions of each image of the sequence."""
        return self.plan.region_count[self._positions]

    def class_bank(self) -> ClassBank:
        """The embeddings of the vocabulary's names, written by extraction."""
        return ClassBank.load(self.store / CLASS_BANK)

    def read(self, indices: Sequence[int] | NDArray[np.integer]) -> FeatureBatch:
        """The images at ``indices`` of the sequence, in that order.

        Raises:
            CacheDamagedError: A chunk does not match its checksum; the images are named.
        """
        positions = self._positions[np.asarray(indices, dtype=np.int64)]
        counts = self.plan.region_count[positions]
        width = max(1, int(counts.max(initial=0)))
        slot = np.arange(width)
        mask = slot < counts[:, None]
        rows = (self._start[positions][:, None] + slot)[mask]
        tokens_pending = self._image_tokens[positions].read()
        regions_pending = self._region_tokens[rows].read() if len(rows) else None
        try:
            image_tokens = np.asarray(tokens_pending.result())
            shape = (len(positions), width, *self._region_tokens.shape[1:])
            region_tokens = np.zeros(shape, dtype=np.float16)
            if regions_pending is not None:
                region_tokens[mask] = regions_pending.result()
        except ValueError as error:
            raise self._damaged(positions, error) from None

        def padded(values: NDArray[Any], fill: int) -> torch.Tensor:
            out = np.full((*mask.shape, *values.shape[1:]), fill, dtype=values.dtype)
            out[mask] = values[rows]
            return torch.from_numpy(out)

        return FeatureBatch(
            image_tokens=torch.from_numpy(image_tokens),
            region_tokens=torch.from_numpy(region_tokens),
            mask=torch.from_numpy(mask),
            classes=padded(self._class, -1),
            boxes=padded(self._box, 0),
            annotation_ids=padded(self._annotation, -1),
            image_ids=torch.from_numpy(self._image_id[positions]),
        )

    def _damaged(self, positions: NDArray[np.int64], error: Exception) -> CacheDamagedError:
        parts = sorted({int(position) // self.plan.part_images for position in positions})
        ids = ", ".join(str(image_id) for image_id in self._image_id[positions][:4])
        return CacheDamagedError(
            f"{self.store}: stored tokens are damaged in part {' or '.join(map(str, parts))} "
            f"(images {ids}, …): {str(error).splitlines()[0]}"
        )


def _failed_images(store: Path, plan: CachePlan) -> tuple[FailedImage, ...]:
    markers = read_markers(store, plan)
    missing = sum(marker is None for marker in markers)
    if missing:
        raise CacheError(
            f"{store}: {missing} of {plan.part_count} parts are not written yet; run the same "
            f"`regionspot extract run` again to finish the store"
        )
    return tuple(failure for marker in markers if marker for failure in marker.failed)
