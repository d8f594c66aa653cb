"""The stories of export, import and merge: whole stores that travel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from regionspot_core.cache.location import Location
from regionspot_core.cache.maintenance.hdf5 import Hdf5Store
from regionspot_core.cache.maintenance.hdf5_export import Export
from regionspot_core.cache.maintenance.hdf5_import import Import
from regionspot_core.cache.maintenance.merge import Merge, MergeReport
from regionspot_core.cache.maintenance.zip_file import ZipExport, ZipFileStore
from regionspot_core.support.progress import BYTES, progress_line


@dataclass(frozen=True)
class ImportReport:
    """What an import made."""

    parts: int
    parts_written: int
    """Those that were not there before."""


@dataclass(frozen=True)
class ExportReport:
    """What an export made."""

    parts: int
    written: bool
    """False where the file was there already."""


def export_store(store: Location, out: Path) -> ExportReport:
    """Write a finished store to one zip or HDF5 file; one of this very store that is there stays.

    Raises:
        InputError: ``out`` is something else, or its folder does not exist.
        CacheError: There is no finished store, or the file cannot be written.
        CacheDamagedError: A file of the store is missing or damaged.
    """
    export = ZipExport(store) if out.suffix == ".zip" else Export(store)
    if export.is_at(out):
        return ExportReport(export.parts, written=False)
    with progress_line("export", total=export.nbytes, unit=BYTES) as advance:
        export.write(out, advance)
    return ExportReport(export.parts, written=True)


def import_store(file: Path, out: Location) -> ImportReport:
    """Make a store of an exported file; run again after an interruption, it goes on.

    Raises:
        InputError: The file is missing, or is not an export.
        CacheDamagedError: The file is damaged.
        CacheError: There is another store at ``out``, or it cannot be written.
    """
    with ZipFileStore(file) if file.suffix == ".zip" else Hdf5Store(file) as source:
        work = Import(source, out)
        start = work.nbytes_there
        with progress_line("import", total=work.nbytes, unit=BYTES, start=start) as advance:
            written = work.run(advance)
        return ImportReport(parts=source.plan.part_count, parts_written=written)


def merge_stores(stores: Sequence[Location], out: Location) -> MergeReport:
    """Put the parts of stores of one plan into one; run again after an interruption, it goes on.

    Raises:
        FingerprintError: The stores were not made by the same run; the fields are named.
        CacheDamagedError: A store's file is missing or damaged.
        CacheError: One is no store, or ``out`` cannot be written.
    """
    merge = Merge(stores, out)
    with progress_line("merge", total=merge.nbytes, unit=BYTES) as advance:
        return merge.run(advance)
