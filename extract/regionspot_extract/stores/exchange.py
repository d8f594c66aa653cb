"""Export, import and merge of whole stores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from regionspot_core.cache.location import Location
from regionspot_core.cache.maintenance.export import Export
from regionspot_core.cache.maintenance.hdf5_file import Hdf5Export
from regionspot_core.cache.maintenance.merge import Merge, MergeReport
from regionspot_core.cache.maintenance.parquet_file import ParquetExport
from regionspot_core.cache.maintenance.zip_file import ZipExport, ZipFileStore
from regionspot_core.cache.maintenance.zip_import import import_of
from regionspot_core.errors import InputError
from regionspot_core.support.progress import BYTES, progress_line

EXPORTS: dict[str, Callable[[Location], Export]] = {
    ".zip": ZipExport,
    ".h5": Hdf5Export,
    ".parquet": ParquetExport,
}
"""Exports by the ending of the file's name."""


@dataclass(frozen=True)
class ExportReport:
    """Result of an export."""

    parts: int
    written: bool
    """False where the file was there already."""


def export_store(store: Location, out: Path) -> ExportReport:
    """Write a finished store to one file; an export of this very store that is there stays.

    Raises:
        InputError: If ``out`` is something else, ends in none of these, its folder does not
            exist, or the store has nothing of what it holds.
        CacheError: If there is no finished store, or the file cannot be written.
        CacheDamagedError: If a file of the store is missing or damaged.
    """
    if out.suffix not in EXPORTS:
        raise InputError(f"--out {out}: expected a name that ends in {' or '.join(EXPORTS)}")
    export = EXPORTS[out.suffix](store)
    if export.is_at(out):
        return ExportReport(export.parts, written=False)
    with progress_line("export", total=export.nbytes, unit=BYTES) as advance:
        export.write(out, advance)
    return ExportReport(export.parts, written=True)


def import_store(file: Path, out: Location) -> MergeReport:
    """Make a store of an exported zip; run again after an interruption, it goes on.

    Raises:
        InputError: If the file is missing, or is not an exported zip.
        CacheDamagedError: If the file is damaged.
        CacheError: If there is another store at ``out``, or it cannot be written.
    """
    with ZipFileStore(file) as source:
        return _copied(import_of(source, out), "import")


def merge_stores(stores: Sequence[Location], out: Location) -> MergeReport:
    """Put the parts of stores of one plan into one; run again after an interruption, it goes on.

    Raises:
        FingerprintError: If the stores were not made by the same run; the fields are named.
        CacheDamagedError: If a store's file is missing or damaged.
        CacheError: If one is no store, or ``out`` cannot be written.
    """
    return _copied(Merge(stores, out), "merge")


def _copied(merge: Merge, what: str) -> MergeReport:
    """Run a merge under a line of progress that begins with ``what``."""
    with progress_line(what, total=merge.nbytes, unit=BYTES) as advance:
        return merge.run(advance)
