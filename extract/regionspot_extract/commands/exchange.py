"""`regionspot extract`: export, import, merge."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from regionspot_core.support.arguments import existing_file, existing_store
from regionspot_extract.commands.arguments import Out, Store


def export(
    store: Store,
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="FILE.zip|.h5|.parquet", help="The file to write; a new one."
        ),
    ],
) -> None:
    """Write a finished store into one file, to share it.

    A zip has the store's own files: zarr-python opens it as it is, and `import`
    makes a store of it again. HDF5 has the values alone, for other programs:
    file["clip/tokens"][7] is image 7's tokens. Parquet has a row for each region:
    its box, class and CLIP's embedding, to search among.
    """
    from regionspot_extract.commands.printing import print_exported
    from regionspot_extract.stores.exchange import export_store

    print_exported(out, export_store(store, out))


def import_(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.zip", callback=existing_file, help="A zip that `export` wrote."
        ),
    ],
    out: Out,
) -> None:
    """Make a store of an exported zip again, byte for byte.

    Interrupted, the same command goes on where it stopped.
    """
    from regionspot_extract.commands.printing import print_imported
    from regionspot_extract.stores.exchange import import_store

    print_imported(out, import_store(file, out))


def merge(
    stores: Annotated[
        list[str],
        typer.Argument(
            metavar="STORE",
            callback=existing_store,
            help="What runs of one plan wrote, each other parts of it.",
        ),
    ],
    out: Out,
) -> None:
    """Put the parts of several stores of one plan into one store.

    A part that several have is taken from the first. --out may have parts
    already; interrupted, the same command goes on. The exit code is 1 while
    parts are missing, or images that could not be read.
    """
    from regionspot_extract.commands.printing import print_merge
    from regionspot_extract.stores.exchange import merge_stores

    report = merge_stores(stores, out)
    print_merge(out, report)
    if report.missing or report.failed:
        raise typer.Exit(1)
