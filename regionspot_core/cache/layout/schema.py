"""The names, types and chunks of a cache's arrays.

Two kinds: small arrays, which the plan alone decides, and part arrays, of which each part writes
one shard file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from regionspot_core.cache.layout.encodings.encoding import SCALE_DTYPE
from regionspot_core.cache.layout.keep import Keep, TokenShape
from regionspot_core.cache.layout.plan import REGION_CHUNK, CachePlan, Part
from regionspot_core.cache.layout.shards import Pieces, chunk_count, shard_bytes, shard_pieces
from regionspot_core.datasets.record import AnnotationSet
from regionspot_core.region_tokens import MASK_SIDE

FORMAT = 2
ATTRIBUTE = "regionspot"
"""The key of the group's attributes that holds everything of ours."""
GROUP = "zarr.json"
"""The group's own file, with all arrays' metadata: it is written last, and makes a store one."""
CLASS_BANK = "classes.h5"
CHUNK = "/c/"
"""Between an array's name and the place of a chunk in its grid, in a file's key."""
PARTS = "parts"
"""The folder of the parts' commit markers."""
FLIPPED = "flipped/"
"""Beginning of the names of the mirrored view's arrays."""
REGION_EMBEDDING = "region/clip"
"""CLIP's own embedding of each region, of length 1."""
NEGATIVE = "image/negative"
NOT_EXHAUSTIVE = "image/not_exhaustive"
CLASS_LISTS = (NEGATIVE, NOT_EXHAUSTIVE)
"""Lists of classes, of data sets that have them: no other store has the arrays. Format 2 is theirs
as well, since whoever does not know them reads past them."""


@dataclass(frozen=True)
class SmallKind:
    """Type and shape of a small array."""

    dtype: str
    length: Literal["images", "images + 1", "rows", "any"]
    """Length of axis 0."""
    trailing: tuple[int, ...] = ()
    """Shape behind axis 0."""

    def rows(self, plan: CachePlan) -> int | None:
        """Return the length of axis 0; None where the plan does not fix it."""
        images = plan.image_count
        lengths = {"images": images, "images + 1": images + 1, "rows": plan.row_count}
        return lengths.get(self.length)


SMALL_ARRAYS = {
    "image/id": SmallKind("int64", "images"),
    "image/size": SmallKind("int32", "images", (2,)),
    "image/bytes": SmallKind("int64", "images"),
    "image/file": SmallKind("uint8", "any"),
    "image/file_start": SmallKind("int64", "images + 1"),
    "region/start": SmallKind("int64", "images"),
    "region/count": SmallKind("int64", "images"),
    "region/box": SmallKind("float32", "rows", (4,)),
    "region/class": SmallKind("int32", "rows"),
    "region/annotation": SmallKind("int64", "rows"),
    NEGATIVE: SmallKind("int32", "any"),
    f"{NEGATIVE}_start": SmallKind("int64", "images + 1"),
    NOT_EXHAUSTIVE: SmallKind("int32", "any"),
    f"{NOT_EXHAUSTIVE}_start": SmallKind("int64", "images + 1"),
}
"""Small arrays by name; the lists of classes are not in every store."""


@dataclass(frozen=True)
class Feature:
    """One array of features as the models give them, before encoding."""

    name: str
    of_regions: bool
    """Whether axis 0 runs over region rows; over images otherwise."""
    trailing: tuple[int, ...]
    """Shape behind axis 0."""
    dtype: str = "float16"
    scale_axis: int | None = None
    """Axis whose values may share a scale in an encoding; None: kept as it is by every encoding."""
    copies: bool = False
    """Whether axis 1 runs over jittered copies, a chunk each."""


@dataclass(frozen=True)
class PartArray:
    """A Zarr array of which each part writes one shard; an inner chunk is the unit of a read."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    shard: tuple[int, ...]
    of_regions: bool

    def file(self, part: int) -> str:
        """Return the key of the one file that holds a part's share."""
        return "/".join([self.name, "c", str(part), *["0"] * (len(self.shape) - 1)])

    def rows(self, part: Part) -> slice:
        """Return the part's rows along axis 0."""
        if self.of_regions:
            return slice(part.row_start, part.row_stop)
        return slice(part.image_start, part.image_stop)

    def length(self, part: Part) -> int:
        """Return the number of the part's rows along axis 0."""
        return part.rows if self.of_regions else len(part.images)

    def file_bytes(self, part: Part) -> int:
        """Return the size of the part's file; 0 where the part has no rows."""
        return shard_bytes(self.length(part), chunk=self.chunk, shard=self.shard, dtype=self.dtype)

    def chunk_count(self, part: Part) -> int:
        """Return how many chunks the part's file has."""
        return chunk_count(self.length(part), chunk=self.chunk, shard=self.shard)

    def pieces(self, values: NDArray[Any]) -> Pieces | None:
        """Return the content of a part's file; None where the part has no rows."""
        return shard_pieces(values, chunk=self.chunk, shard=self.shard)


def features(plan: CachePlan) -> dict[str, Feature]:
    """Return a plan's features by name; the mirrored view's names begin with ``flipped/``."""
    shape, copies = plan.shape, plan.keep.jitter
    token, ious = (shape.region_tokens, shape.region_width), (shape.ious,)
    embedding = (shape.region_embedding,) if shape.region_embedding else None
    found = [
        Feature("clip/tokens", False, (shape.image_tokens, shape.image_width), scale_axis=1),
        Feature("region/tokens", True, token, scale_axis=2),
        Feature("region/iou", True, ious),
    ]
    if embedding:
        found.append(Feature(REGION_EMBEDDING, True, embedding, scale_axis=1))
    mask = (MASK_SIDE, MASK_SIDE) if plan.keep.region_masks else None
    if mask:
        found.append(Feature("region/mask", True, mask, "uint8"))
    if copies:
        found += [
            Feature("region/jittered/tokens", True, (copies, *token), scale_axis=3, copies=True),
            Feature("region/jittered/iou", True, (copies, *ious), copies=True),
        ]
        if embedding:
            name, trailing = "region/jittered/clip", (copies, *embedding)
            found.append(Feature(name, True, trailing, scale_axis=2, copies=True))
        if mask:
            name, shape_of_all = "region/jittered/mask", (copies, *mask)
            found.append(Feature(name, True, shape_of_all, "uint8", copies=True))
    if plan.keep.flip:
        found += [Feature(**vars(each) | {"name": FLIPPED + each.name}) for each in found]
    if copies:
        found.append(Feature("region/jittered/box", True, (copies, 4), "float32", copies=True))
    return {feature.name: feature for feature in found}


def part_arrays(plan: CachePlan) -> dict[str, PartArray]:
    """Return the arrays that parts write, by name: every feature's, and the scales of encodings."""
    arrays, encoding = [], plan.keep.encoding
    for feature in features(plan).values():
        axis = feature.scale_axis
        dtype = feature.dtype if axis is None else encoding.dtype
        arrays.append(_part_array(plan, feature, feature.name, feature.trailing, dtype))
        if axis is not None and encoding.scale_shape is not None:
            trailing = encoding.scale_shape(feature.trailing, axis)
            arrays.append(
                _part_array(plan, feature, scale_name(feature.name), trailing, SCALE_DTYPE)
            )
    return {array.name: array for array in arrays}


def is_planned_file(key: str) -> bool:
    """Return whether any plan has a file of this name: an array's, metadata, the class bank.

    What a store lists as its plan's files is a file that somebody may have sent: a key that is
    none of ours is never followed.
    """
    if key in _metadata_keys() or key == CLASS_BANK:
        return True
    name, _, place = key.partition(CHUNK)
    kind = SMALL_ARRAYS.get(name)
    return kind is not None and bool(
        re.fullmatch(r"(0|[1-9][0-9]{0,9})" + "/0" * len(kind.trailing), place)
    )


def groups_of(names: Iterable[str]) -> set[str]:
    """Return the groups above arrays, without the uppermost."""
    return {
        "/".join(parts[:end])
        for parts in (name.split("/") for name in names)
        for end in range(1, len(parts))
    }


@cache
def _all_part_arrays() -> frozenset[str]:
    shape, every_view = TokenShape(1, 1, 1, 1, 1, 1), Keep(jitter=1, flip=True, region_masks=True)
    every = features(CachePlan(np.zeros(1, np.int64), shape, 1, every_view)).values()
    scales = {scale_name(each.name) for each in every if each.scale_axis is not None}
    return frozenset({each.name for each in every} | scales)


@cache
def _metadata_keys() -> frozenset[str]:
    arrays = SMALL_ARRAYS.keys() | _all_part_arrays()
    return frozenset({GROUP, *(f"{name}/{GROUP}" for name in arrays | groups_of(arrays))})


def scale_name(name: str) -> str:
    """Return the name of a feature's scales: ``clip/tokens`` → ``clip/scale``."""
    if name.endswith("tokens"):
        return name.removesuffix("tokens") + "scale"
    return f"{name}_scale"


def start_name(name: str) -> str:
    """Return the name of the array that says where each image's list begins."""
    return f"{name}_start"


def stored_bytes(plan: CachePlan) -> dict[str, int]:
    """Return the bytes of the finished part arrays by name, without checksums and indices."""
    rows = sum(-(-part.rows // REGION_CHUNK) * REGION_CHUNK for part in plan.parts())
    return {
        array.name: (rows if array.of_regions else plan.image_count)
        * int(np.prod(array.shape[1:]))
        * np.dtype(array.dtype).itemsize
        for array in part_arrays(plan).values()
    }


def small_arrays(
    plan: CachePlan, annotations: AnnotationSet, image_bytes: NDArray[np.int64]
) -> Iterable[tuple[str, NDArray[Any], int]]:
    """Yield name, values and fill value of every array that the plan alone decides."""
    names = [name.encode() for name in annotations.image_file]
    name_start = np.concatenate([[0], np.cumsum([len(name) for name in names])])
    yield "image/id", annotations.image_id, 0
    yield "image/size", annotations.image_size, 0
    yield "image/bytes", image_bytes, -1
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
    lists = (annotations.negative, annotations.not_exhaustive)
    for name, each in zip(CLASS_LISTS, lists, strict=True):
        if each is not None:
            yield name, each.values, -1
            yield start_name(name), each.start, 0


def _part_array(
    plan: CachePlan, feature: Feature, name: str, trailing: tuple[int, ...], dtype: str
) -> PartArray:
    inner = (1, *trailing[1:]) if feature.copies else trailing
    return PartArray(
        name=name,
        dtype=dtype,
        shape=(plan.row_count if feature.of_regions else plan.image_count, *trailing),
        chunk=(REGION_CHUNK if feature.of_regions else 1, *inner),
        shard=(plan.part_rows if feature.of_regions else plan.part_images, *trailing),
        of_regions=feature.of_regions,
    )
