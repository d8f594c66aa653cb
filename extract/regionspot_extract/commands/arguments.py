"""Arguments of the commands that take a finished store."""

from __future__ import annotations

from typing import Annotated

import typer

from regionspot_core.support.arguments import existing_store

STORE = "A folder, or a URL: s3://bucket/path, gs://bucket/path."

Out = Annotated[str, typer.Option("--out", metavar="STORE", help=f"The store to make. {STORE}")]
Store = Annotated[
    str, typer.Argument(metavar="STORE", help=f"What `run` wrote. {STORE}", callback=existing_store)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
