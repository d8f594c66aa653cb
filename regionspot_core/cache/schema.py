"""The names, types and chunks of a cache's arrays, and how they are opened.

Metadata and small arrays go through zarr-python. Token arrays go through TensorStore, which
reads sharded chunks some seventy times faster (benchmarks/LOG.md).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts
import zarr
from numpy.typing import NDArray
from zarr.codecs import BytesCodec, Crc32cCodec

from regionspot_core.cache.plan import REGION_CHUNK, CachePlan
from regionspot_core.errors import CacheError

FORMAT = 1
ATTRIBUTE = "regionspot"
"""The key of the group's attributes that holds everything of ours."""
CLASS_BANK = "classes.h5"
PARTS = "parts"
"""The folder of the parts' commit markers."""


@dataclass(frozen=True)
class TokenArray:
    """A sharded array written part by part; one inner chunk is the unit of a read."""

    name: str
    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    shard: tuple[int, ...]


def token_arrays(plan: CachePlan) -> dict[str, TokenArray]:
    """The three token arrays of a plan, by name."""
    tokens, width = plan.shape.image_tokens, plan.shape.image_width
    region = (plan.shape.region_tokens, plan.shape.region_width)
    iou = (plan.shape.region_tokens - 1,)
    arrays = (
        TokenArray(
            "clip/tokens",
            shape=(plan.image_count, tokens, width),
            chunk=(1, tokens, width),
            shard=(plan.part_images, tokens, width),
        ),
        TokenArray(
            "region/tokens",
            shape=(plan.row_count, *region),
            chunk=(REGION_CHUNK, *region),
            shard=(plan.part_rows, *region),
        ),
        TokenArray(
            "region/iou",
            shape=(plan.row_count, *iou),
            chunk=(REGION_CHUNK, *iou),
            shard=(plan.part_rows, *iou),
        ),
    )
    return {array.name: array for array in arrays}


def shard_file(store: Path, name: str, part: int) -> Path:
    """The one file that holds a part's share of a token array."""
    trailing = {"clip/tokens": 2, "region/tokens": 2, "region/iou": 1}[name]
    return store.joinpath(*name.split("/"), "c", str(part), *["0"] * trailing)


def create_token_array(group: zarr.Group, array: TokenArray) -> None:
    """Create the metadata of a float16 array whose every chunk carries a crc32c."""
    group.create_array(
        array.name,
        shape=array.shape,
        dtype="float16",
        chunks=array.chunk,
        shards=array.shard,
        serializer=BytesCodec(),
        compressors=Crc32cCodec(),
        fill_value=0.0,
    )


def open_token_array(store: Path, name: str) -> Any:  # noqa: ANN401 - TensorStore is untyped
    """Open a token array for reading and writing through TensorStore."""
    spec = {
        "driver": "zarr3",
        "kvstore": {"driver": "file", "path": str(store.joinpath(*name.split("/")).resolve())},
        # No pool: the page cache already holds what is read twice, and copies less.
        "context": {"cache_pool": {"total_bytes_limit": 0}},
        "recheck_cached_data": False,
    }
    return ts.open(spec, open=True).result()


def consolidate(store: Path) -> None:
    """Put all arrays' metadata into the group's own file: one read opens the whole store.

    It also spares zarr-python from listing the folder, where markers and the class bank would
    make it warn.
    """
    with warnings.catch_warnings():
        # zarr-python warns that Zarr v3 does not specify consolidated metadata yet; readers
        # that do not know it ignore it.
        warnings.filterwarnings("ignore", message="Consolidated metadata", category=UserWarning)
        zarr.consolidate_metadata(str(store))


def open_group(store: Path) -> tuple[zarr.Group, dict[str, Any]]:
    """The store's Zarr group and our attributes in it.

    Raises:
        CacheError: There is no store, it is not ours, or it is of a newer format.
    """
    if not store.is_dir():
        found = "a file" if store.exists() else "nothing"
        raise CacheError(
            f"{store}: expected a feature cache (a folder written by `regionspot extract run`), "
            f"found {found}"
        )
    try:
        group = zarr.open_group(str(store), mode="r")
        attributes = group.attrs.asdict()[ATTRIBUTE]
    except (FileNotFoundError, KeyError, ValueError) as error:
        raise CacheError(
            f"{store}: not a feature cache ({type(error).__name__}: no {ATTRIBUTE!r} attributes)"
        ) from None
    if not isinstance(attributes, dict) or attributes.get("format") != FORMAT:
        format_found = attributes.get("format") if isinstance(attributes, dict) else attributes
        raise CacheError(f"{store}: expected cache format {FORMAT}, found {format_found}")
    return group, attributes


def whole_array(group: zarr.Group, name: str) -> NDArray[Any]:
    """All of one of the small arrays."""
    array = group[name]
    if not isinstance(array, zarr.Array):
        raise CacheError(f"{group.path}/{name}: expected an array, found a group")
    return np.asarray(array[...])
