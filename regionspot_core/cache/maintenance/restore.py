"""Building again the files that a store's plan decides, and nothing else."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from regionspot_core.cache.layout.plan import CachePlan
from regionspot_core.cache.layout.schema import CLASS_BANK, CLASS_LISTS, GROUP
from regionspot_core.cache.layout.small import read_small
from regionspot_core.cache.storage.arrays import (
    parse_attributes,
    problem_of_list,
    require_listed_as_planned,
)
from regionspot_core.cache.storage.markers import read_plan_files, write_plan_files
from regionspot_core.cache.storage.store import FolderStore, Store
from regionspot_core.cache.writer import build_plan_files, require_same_origin
from regionspot_core.datasets.record import AnnotationSet
from regionspot_core.errors import CacheDamagedError, CacheError
from regionspot_core.fingerprint import Fingerprint
from regionspot_core.support.checksums import FileSum
from regionspot_core.text.class_bank import HEADER_BYTES, ClassBank


def restore_plan_files(
    store: Store,
    *,
    plan: CachePlan,
    annotations: AnnotationSet,
    make_bank: Callable[[], ClassBank],
    fingerprint: Fingerprint,
    image_bytes: Callable[[], NDArray[np.int64]],
) -> list[str]:
    """Put back the files of the plan that are missing or damaged, and return their keys.

    They are built aside as for a new store. A file is put back only if it is, byte for byte, what
    the store's list of files says; if that list is damaged, the group's own file is compared.

    Raises:
        FingerprintError: If the store was made otherwise; the fields are named.
        CacheError: If the new files differ, or nothing is left that says what the store was.
    """
    sums = _intact_sums(store, plan)
    group = store.read(GROUP)
    if not _has_class_lists(sums, group):
        annotations = replace(annotations, negative=None, not_exhaustive=None)
    if group is not None and (not sums or FileSum.of([group]) == sums[GROUP]):
        require_same_origin(store, parse_attributes(store, group), plan, fingerprint)
    wrong = {key for key, each in sums.items() if not _is_whole(store, key, each)}
    with tempfile.TemporaryDirectory() as folder:
        sizes = _image_bytes(store, sums, len(annotations), image_bytes)
        bank = make_bank() if not sums or CLASS_BANK in wrong else _bank(store)
        build_plan_files(Path(folder), plan, annotations, sizes, bank, fingerprint)
        built = FolderStore(Path(folder))
        rebuilt = read_plan_files(built)
        before = FileSum.of([bank.content()[HEADER_BYTES:]])
        if sums.get(CLASS_BANK) == before:  # the store is older than the checksums of banks
            built.write(CLASS_BANK, [bank.content()[HEADER_BYTES:]])
            rebuilt[CLASS_BANK] = before
        for key in sorted(wrong or {GROUP}):
            stored = sums[key] if sums else FileSum.of([group or b""])
            if rebuilt.get(key) != stored:
                raise _another(store, key)
        if not sums:
            wrong = {key for key, each in rebuilt.items() if not _is_whole(store, key, each)}
            write_plan_files(store, rebuilt)
        for key in sorted(wrong):
            store.write(key, list(built.blocks(key)))
    return sorted(wrong)


def _intact_sums(store: Store, plan: CachePlan) -> dict[str, FileSum]:
    """Return the list of the plan's files; empty where it is damaged, another's, or cannot be."""
    try:
        files = read_plan_files(store)
        require_listed_as_planned(store, files, plan)
    except CacheError:
        return {}
    return {} if problem_of_list(store, files) else files


def _has_class_lists(sums: dict[str, FileSum], group: bytes | None) -> bool:
    """Return whether the store has lists of classes; earlier versions wrote none."""
    names = [f"{name}/{GROUP}" for name in CLASS_LISTS]
    if sums:
        return any(name in sums for name in names)
    # The group's file has the metadata of all arrays, by name.
    return any(f'"{name}"'.encode() in (group or b"") for name in CLASS_LISTS)


def _is_whole(store: Store, key: str, expected: FileSum) -> bool:
    try:
        content = store.read(key)
    except CacheError:  # a link that leads nowhere, say
        return False
    return content is not None and FileSum.of([content]) == expected


def _image_bytes(
    store: Store,
    sums: dict[str, FileSum],
    images: int,
    measure: Callable[[], NDArray[np.int64]],
) -> NDArray[np.int64]:
    """Return the sizes of the image files when the store was made; today's if they are lost."""
    try:
        planned = read_small(store, "image/bytes", sums)
    except CacheDamagedError:
        return measure()
    return planned if len(planned) == images else measure()


def _bank(store: Store) -> ClassBank:
    return ClassBank.load(io.BytesIO(store.read(CLASS_BANK) or b""), name=f"{store}/{CLASS_BANK}")


def _another(store: Store, key: str) -> CacheError:
    return CacheError(
        f"{store}: {key} cannot be restored, since these options, images and library versions "
        f"make another file than was written; give those that the store was made with"
    )
