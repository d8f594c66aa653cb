"""Creating a cache from its plan and committing it part by part."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from regionspot_core.cache.fingerprint import Fingerprint, require_equal
from regionspot_core.cache.markers import (
    FailedImage,
    Marker,
    read_marker,
    shard_checksums,
    write_marker,
)
from regionspot_core.cache.plan import CachePlan, Part
from regionspot_core.cache.schema import (
    ATTRIBUTE,
    CLASS_BANK,
    FORMAT,
    PARTS,
    consolidate,
    create_token_array,
    open_group,
    open_token_array,
    token_arrays,
)
from regionspot_core.class_bank import ClassBank
from regionspot_core.datasets import AnnotationSet
from regionspot_core.errors import CacheError


@dataclass(frozen=True)
class PartFeatures:
    """A part's tokens, float16. Rows of failed images are zeros."""

    image_tokens: NDArray[np.float16]
    """(images, T, C)"""
    region_tokens: NDArray[np.float16]
    """(regions, M, S)"""
    region_iou: NDArray[np.float16]
    """(regions, M - 1)"""
    failed: tuple[FailedImage, ...] = ()


class CacheWriter:
    """A store being filled. Several processes may fill different parts of one store."""

    def __init__(self, store: Path, plan: CachePlan) -> None:
        self.store = store
        self.plan = plan
        self._arrays = {name: open_token_array(store, name) for name in token_arrays(plan)}

    @classmethod
    def open_or_create(
        cls,
        store: Path,
        *,
        plan: CachePlan,
        annotations: AnnotationSet,
        make_bank: Callable[[], ClassBank],
        fingerprint: Fingerprint,
    ) -> CacheWriter:
        """Create the store, or open the one there if it was planned the same way.

        Args:
            store: The folder to create or go on with.
            plan: Where everything goes.
            annotations: Images and boxes.
            make_bank: Embeds the vocabulary; called only for a new store, since it is not cheap.
            fingerprint: What the features are made from.

        Raises:
            FingerprintError: The store there was planned otherwise; the fields are named.
            CacheError: What is there is not a feature cache.
        """
        if not store.exists():
            _create(store, plan, annotations, make_bank(), fingerprint)
        _, attributes = open_group(store)
        require_equal(
            {"fingerprint": attributes["fingerprint"], "plan": attributes["plan"]},
            {"fingerprint": fingerprint, "plan": plan.to_json()},
            what=f"{store} was made otherwise than this run would",
            advice="Choose another --out, or run with the options the store was made with",
        )
        return cls(store, plan)

    def pending(self) -> list[Part]:
        """The parts that are not committed, in order."""
        parts = (self.plan.part(index) for index in range(self.plan.part_count))
        return [part for part in parts if read_marker(self.store, part.index) is None]

    def write(self, part: Part, features: PartFeatures) -> Marker:
        """Write a part's tokens and commit it.

        Raises:
            CacheError: The arrays are not of the part's shape.
        """
        images, rows, shape = len(part.images), part.rows, self.plan.shape
        expected = {
            "image_tokens": (images, shape.image_tokens, shape.image_width),
            "region_tokens": (rows, shape.region_tokens, shape.region_width),
            "region_iou": (rows, shape.region_tokens - 1),
        }
        for name, wanted in expected.items():
            if getattr(features, name).shape != wanted:
                found = getattr(features, name).shape
                raise CacheError(f"part {part.index}: {name} must be {wanted}, got {found}")
        region_rows = slice(part.row_start, part.row_stop)
        pending = [
            self._arrays["clip/tokens"][part.image_start : part.image_stop].write(
                features.image_tokens
            ),
            self._arrays["region/tokens"][region_rows].write(features.region_tokens),
            self._arrays["region/iou"][region_rows].write(features.region_iou),
        ]
        for write in pending:
            write.result()
        lost = {failure.position for failure in features.failed}
        marker = Marker(
            part=part.index,
            images=images - len(lost),
            regions=rows - int(sum(self.plan.region_count[position] for position in lost)),
            failed=features.failed,
            sha256=shard_checksums(self.store, part, list(self._arrays)),
        )
        write_marker(self.store, marker)
        return marker


def _create(
    store: Path,
    plan: CachePlan,
    annotations: AnnotationSet,
    bank: ClassBank,
    fingerprint: Fingerprint,
) -> None:
    """Build the store aside and rename it, so that a store that exists is a whole one."""
    partial = store.with_name(f"{store.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        group = zarr.create_group(str(partial), zarr_format=3)
        group.attrs[ATTRIBUTE] = {
            "format": FORMAT,
            "fingerprint": fingerprint,
            "plan": plan.to_json(),
            "vocabulary": annotations.vocabulary.to_json(),
        }
        for array in token_arrays(plan).values():
            create_token_array(group, array)
        for name, values, fill in _small_arrays(plan, annotations):
            _write_small(group, name, values, fill)
        consolidate(partial)
        # After the metadata is consolidated: zarr-python would warn of files that are no nodes.
        bank.save(partial / CLASS_BANK)
        (partial / PARTS).mkdir()
        partial.rename(store)
    except OSError as error:
        raise CacheError(f"{store}: the store cannot be created ({error.strerror})") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _small_arrays(
    plan: CachePlan, annotations: AnnotationSet
) -> Iterable[tuple[str, NDArray[Any], int]]:
    """Name, values and fill value of every array that the plan alone decides."""
    names = [name.encode() for name in annotations.image_file]
    name_start = np.concatenate([[0], np.cumsum([len(name) for name in names])])
    yield "image/id", annotations.image_id, 0
    yield "image/size", annotations.image_size, 0
    # Zarr v3 has no settled string type: UTF-8 bytes end to end, and where each name starts.
    yield "image/file", np.frombuffer(b"".join(names), dtype=np.uint8), 0
    yield "image/file_start", name_start.astype(np.int64), 0
    yield "region/start", plan.region_start, 0
    yield "region/count", plan.region_count, 0

    def by_row(values: NDArray[Any], fill: int) -> NDArray[Any]:
        rows = np.full((plan.row_count, *values.shape[1:]), fill, dtype=values.dtype)
        rows[plan.region_rows] = values
        return rows

    yield "region/box", by_row(annotations.box, 0), 0
    yield "region/class", by_row(annotations.class_index, -1), -1
    yield "region/annotation", by_row(annotations.annotation_id, -1), -1


def _write_small(group: zarr.Group, name: str, values: NDArray[Any], fill: int) -> None:
    chunk = (max(1, min(len(values), 1 << 20)), *values.shape[1:])
    array = group.create_array(
        name, shape=values.shape, dtype=values.dtype, chunks=chunk, fill_value=fill
    )
    array[...] = values
