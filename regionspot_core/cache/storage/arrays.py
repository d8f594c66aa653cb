"""Opening a store's arrays through TensorStore, and creating them through zarr-python.

TensorStore reads sharded chunks some seventy times faster than zarr-python (benchmarks/LOG.md).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import google_crc32c
import numpy as np
import tensorstore as ts
import zarr
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from zarr.codecs import BytesCodec, Crc32cCodec

from regionspot_core.cache.layout.encodings.registry import find_encoding
from regionspot_core.cache.layout.plan import CachePlan, PlanRecord
from regionspot_core.cache.layout.schema import (
    ATTRIBUTE,
    CHUNK,
    CLASS_BANK,
    CLASS_LISTS,
    FORMAT,
    GROUP,
    SMALL_ARRAYS,
    PartArray,
    groups_of,
    part_arrays,
    start_name,
)
from regionspot_core.cache.layout.small import (
    CHUNK_ROWS,
    SmallArray,
    read_small,
    require_part_array,
)
from regionspot_core.cache.storage.markers import PLAN_FILES, damaged, not_ours, read_plan_files
from regionspot_core.cache.storage.store import FolderStore, Store
from regionspot_core.datasets.vocabulary import Vocabulary
from regionspot_core.errors import CacheError
from regionspot_core.support.checksums import FileSum
from regionspot_core.support.records import Int64, parse_object, shown, validated
from regionspot_core.text.class_bank import HDF5

MOST_REGIONS = 1 << 24
"""Most regions of an image; data sets have hundreds."""

# No pool: the page cache holds data that is read twice, and copies less (benchmarks/LOG.md).
_CONTEXT = ts.Context({"cache_pool": {"total_bytes_limit": 0}})

READ_ERRORS = (ValueError, IndexError, OSError, RuntimeError)
"""Exceptions of TensorStore on a damaged file."""


def create_array(group: zarr.Group, array: PartArray) -> None:
    """Create the metadata of an array whose every inner chunk carries a crc32c."""
    group.create_array(
        array.name,
        shape=array.shape,
        dtype=array.dtype,
        chunks=array.chunk,
        shards=array.shard,
        serializer=BytesCodec() if np.dtype(array.dtype).itemsize > 1 else BytesCodec(endian=None),
        compressors=Crc32cCodec(),
        fill_value=0,
    )


def create_small(group: zarr.Group, name: str, values: NDArray[Any], fill: int) -> None:
    """Write a small array whole, its chunks with a crc32c each."""
    chunk = (max(1, min(len(values), CHUNK_ROWS)), *values.shape[1:])
    array = group.create_array(
        name,
        shape=values.shape,
        dtype=values.dtype,
        chunks=chunk,
        serializer=BytesCodec() if values.dtype.itemsize > 1 else BytesCodec(endian=None),
        compressors=Crc32cCodec(),
        fill_value=fill,
        # A chunk that holds nothing but the fill value is written as well: one that is not there
        # is one that was lost.
        config={"write_empty_chunks": True},
    )
    array[...] = values


def consolidate(folder: Path) -> None:
    """Put all arrays' metadata into the group's own file: one read opens the whole store.

    It also spares zarr-python from listing the folder, where markers and the class bank would
    make it warn.
    """
    with warnings.catch_warnings():
        # zarr-python warns that Zarr v3 does not specify consolidated metadata yet; readers
        # that do not know it ignore it.
        warnings.filterwarnings("ignore", message="Consolidated metadata", category=UserWarning)
        zarr.consolidate_metadata(str(folder))


class _Fingerprint(BaseModel):
    """The fields of a fingerprint that are used; the others are only compared."""

    model_config = ConfigDict(extra="allow")

    backbones: dict[str, dict[str, Any]]
    dataset: dict[str, Any] = Field(default_factory=dict)
    precision: str = ""


class _Vocabulary(BaseModel):
    names: tuple[str, ...]
    ids: tuple[Int64, ...]
    frequencies: tuple[str, ...]
    kinds: tuple[str, ...]
    synonyms: tuple[tuple[str, ...], ...] = ()

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        Vocabulary.from_json(self.model_dump())
        return self


class _Attributes(BaseModel):
    """Attributes of a store's group, beside the format's number."""

    fingerprint: _Fingerprint
    plan: PlanRecord
    vocabulary: _Vocabulary


@dataclass(frozen=True)
class Header:
    """Content of a store's small files, checked against their checksums and the plan."""

    attributes: dict[str, Any]
    files: dict[str, FileSum]
    """The files that the plan decided, and no others."""
    plan: CachePlan


def read_header(store: Store) -> Header:
    """Read and check a store's metadata, before anything else of it is trusted.

    Raises:
        CacheError: If there is no store, it is not ours, or it is of another format.
        CacheDamagedError: If a file of metadata is not what was written, or what it says cannot be.
    """
    content = store.read(GROUP)
    if content is None:
        raise CacheError(
            f"{store}: expected a feature cache (written by `regionspot extract run`), found "
            f"{_kind_of_store(store)}"
        )
    files = read_plan_files(store)
    if not files:
        parse_attributes(store, content)  # another format has no such file
        raise damaged(store, PLAN_FILES, "missing")
    _require_whole(store, files, {GROUP: content})
    attributes = parse_attributes(store, content)
    plan = parse_plan(attributes, read_small(store, "region/count", files), source=store)
    require_listed_as_planned(store, files, plan)
    keys = [key for key in files if key.rpartition("/")[2] == GROUP]
    metadata = dict(zip(keys, store.read_many(keys), strict=True))
    _require_whole(store, files, metadata)
    _require_of_plan(store, files, metadata, plan)
    return Header(attributes, files, plan)


def read_attributes(store: Store) -> dict[str, Any]:
    """Read the store's attributes: format, fingerprint, plan and vocabulary.

    Raises:
        CacheError: As :func:`read_header`.
    """
    return read_header(store).attributes


def parse_attributes(store: Store, content: bytes) -> dict[str, Any]:
    """Parse the store's attributes from the content of the group's own file.

    Raises:
        CacheError: If they are not those of a feature cache of this format.
        CacheDamagedError: If one of them is impossible.
    """
    try:
        attributes = parse_object(content)["attributes"][ATTRIBUTE]
    except (ValueError, KeyError, TypeError) as error:
        raise CacheError(
            f"{store}: not a feature cache ({type(error).__name__}: no {ATTRIBUTE!r} attributes)"
        ) from None
    if not isinstance(attributes, dict) or attributes.get("format") != FORMAT:
        version = attributes.get("format") if isinstance(attributes, dict) else attributes
        raise CacheError(
            f"{store}: expected cache format {FORMAT}, found {shown(version)}; extract it "
            f"again, or read it with the version that wrote it"
        )
    _require_encoding(store, attributes)
    validated(_Attributes, attributes, not_ours(store, GROUP))
    return attributes


def _require_encoding(store: Store, attributes: dict[str, Any]) -> None:
    """Refuse a store whose encoding is in a module that is not here: it is whole, but not readable.

    Raises:
        CacheError: If the module cannot be imported, or lacks the encoding.
    """
    try:
        name = attributes["plan"]["keep"]["dtype"]
    except (KeyError, TypeError):
        return
    if isinstance(name, str) and ":" in name:
        try:
            find_encoding(name)
        except ValueError as error:
            raise CacheError(
                f"{store}: its tokens are in the encoding {shown(name)}, which is not known here: "
                f"{error}"
            ) from None


def parse_plan(
    attributes: dict[str, Any], region_count: NDArray[np.int64], *, source: object
) -> CachePlan:
    """Build the plan from a store's attributes and ``region/count``.

    Raises:
        CacheDamagedError: If no plan has them; ``source`` is named.
    """
    record = validated(PlanRecord, attributes["plan"], not_ours(source, GROUP))
    if not len(region_count):
        raise not_ours(source, "region/count")("it has no image")
    if region_count.min() < 0 or region_count.max() > MOST_REGIONS:
        raise not_ours(source, "region/count")(
            f"an image has 0 to {MOST_REGIONS:,} regions, not {region_count.min()} to "
            f"{region_count.max()}"
        )
    return CachePlan.from_record(record, region_count)


def read_plan(store: Store, attributes: dict[str, Any]) -> CachePlan:
    """Read the store's plan, from its attributes and its ``region/count``."""
    region_count = read_small(store, "region/count", read_plan_files(store))
    return parse_plan(attributes, region_count, source=store)


def require_listed_as_planned(store: Store, files: dict[str, FileSum], plan: CachePlan) -> None:
    """Refuse a list of the plan's files that names others than the plan yields, or lacks some.

    Raises:
        CacheDamagedError: If the list is another plan's.
    """
    optional = {each for name in CLASS_LISTS for each in (name, start_name(name))}
    arrays = SMALL_ARRAYS.keys() - optional | part_arrays(plan).keys()
    arrays |= {name for name in optional if f"{name}/{GROUP}" in files}
    needed = {GROUP, CLASS_BANK, *(f"{name}/{GROUP}" for name in arrays)}
    allowed = needed | {f"{name}/{GROUP}" for name in groups_of(arrays)}
    chunks = {key for key in files if CHUNK in key}
    strange = {key for key in chunks if key.partition(CHUNK)[0] not in arrays}
    strange |= files.keys() - chunks - allowed
    if strange:
        raise not_ours(store, PLAN_FILES)(f"it names {min(strange)}, which is not of the plan")
    if needed - files.keys():
        raise not_ours(store, PLAN_FILES)(f"it lacks {min(needed - files.keys())}")


def _require_whole(
    store: Store, files: dict[str, FileSum], contents: dict[str, bytes | None]
) -> None:
    for key, content in contents.items():
        if content is None or FileSum.of([content]) != files.get(key):
            if problem := problem_of_list(store, files):
                raise damaged(store, PLAN_FILES, problem)
            raise damaged(store, key, "missing" if content is None else "damaged")


def problem_of_list(store: Store, files: dict[str, FileSum]) -> str | None:
    """Return the problem of a list of the plan's files whose checksum is right; None if none.

    The list is another store's if the group's own file and others do not match it, but match their
    own checksums.
    """
    try:
        group = store.read(GROUP)
        if group is None or FileSum.of([group]) == files.get(GROUP):
            return None
        parse_attributes(store, group)
        wrong = {}
        for key in files.keys() - {GROUP}:
            content = store.read(key)
            if content is not None and FileSum.of([content]) != files[key]:
                wrong[key] = content
        consolidated = _consolidated(group)
    except CacheError:
        return None
    if wrong and all(_is_sound(key, content, consolidated) for key, content in wrong.items()):
        return "another store's: it lists other files than those that are here"
    return None


def _consolidated(group: bytes) -> dict[str, Any]:
    """Return the metadata of all arrays and groups in the uppermost group's file, by name."""
    try:
        metadata = parse_object(group)["consolidated_metadata"]["metadata"]
    except (ValueError, KeyError, TypeError):
        return {}
    return metadata if isinstance(metadata, dict) else {}


def _is_sound(key: str, content: bytes, consolidated: dict[str, Any]) -> bool:
    """Return whether a file of the plan matches its own checksum or the group's file."""
    if CHUNK in key:
        return bool(google_crc32c.value(content[:-4]).to_bytes(4, "little") == content[-4:])
    if key == CLASS_BANK:
        return content.startswith(HDF5)
    name = key.removesuffix(f"/{GROUP}")
    try:
        return name in consolidated and parse_object(content).items() <= consolidated[name].items()
    except (ValueError, AttributeError):
        return False


def _require_of_plan(
    store: Store,
    files: dict[str, FileSum],
    metadata: dict[str, bytes | None],
    plan: CachePlan,
) -> None:
    """Hold every array's metadata against the plan."""
    for array in part_arrays(plan).values():
        require_part_array(array, metadata[f"{array.name}/{GROUP}"], source=store)
    for name, kind in SMALL_ARRAYS.items():
        key = f"{name}/{GROUP}"
        if key not in files:
            continue
        small = SmallArray.from_metadata(name, metadata[key], source=store)
        wanted = kind.rows(plan)
        if wanted is not None and small.shape[0] != wanted:
            raise not_ours(store, key)(f"the plan says {wanted} values, it says {small.shape[0]}")
        listed = sum(each.startswith(name + CHUNK) for each in files)
        if small.chunks != listed:
            raise not_ours(store, key)(f"it has {small.chunks} chunks, and {listed} are listed")


def begin_open(store: Store, name: str) -> Any:  # noqa: ANN401 - TensorStore is untyped
    """Begin to open an array; ``.result()`` of what comes back waits for it."""
    spec = {
        "driver": "zarr3",
        "kvstore": store.kvstore(name),
        "recheck_cached_data": False,
        # A chunk that is not there was lost: what a part holds is always written.
        "fill_missing_data_reads": False,
    }
    return ts.open(spec, open=True, read=True, write=False, context=_CONTEXT)


def _kind_of_store(store: Store) -> str:
    if isinstance(store, FolderStore) and store.folder.exists():
        return "a folder that holds none" if store.folder.is_dir() else "a file"
    return "nothing"
