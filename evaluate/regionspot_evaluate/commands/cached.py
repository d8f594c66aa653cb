"""`regionspot evaluate cached`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from regionspot_core.support import options
from regionspot_core.support.arguments import existing_file, existing_path, existing_store
from regionspot_evaluate.commands import options as naming


def cached(
    cache: Annotated[
        str,
        typer.Option(
            "--cache",
            callback=existing_store,
            metavar="STORE",
            help="What `extract run` wrote: folder or URL.",
        ),
    ],
    heads: naming.Heads,
    annotations: Annotated[
        Path | None,
        typer.Option(
            "--annotations",
            callback=existing_path,
            metavar="FILE",
            show_default="the store's own boxes",
            help="The store's LVIS annotation JSON: scores with its areas, exactly as `run` does.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Folder for detections and figures."),
    ] = None,
    bank: Annotated[
        Path | None,
        typer.Option(
            "--bank",
            callback=existing_file,
            metavar="FILE",
            show_default="the store's",
            help="Class embeddings that `extract text` wrote.",
        ),
    ] = None,
    device: options.Device = "auto",
    batch: Annotated[
        int, typer.Option("--batch", metavar="N", help="Images that a head takes together.")
    ] = 32,
    pairs: naming.Pairs = 900,
    detections: naming.Detections = 300,
) -> None:
    """Score heads on a store's tokens and boxes. SAM and CLIP need not be installed.

    Prints LVIS box figures and how regions are named: top-1, top-5, and
    the mean over classes. Several heads share one read of the store.
    """
    from regionspot_core.support.tables import show
    from regionspot_evaluate.cached import run_cached_evaluation
    from regionspot_evaluate.config import CachedConfig

    config = CachedConfig.parse(
        {
            "cache": cache,
            "heads": heads,
            "annotations": annotations,
            "out": out,
            "bank": bank,
            "device": device,
            "batch_images": batch,
            "pairs": pairs,
            "detections": detections,
        },
        source="regionspot evaluate cached",
    )
    report = run_cached_evaluation(config)
    show(*report.tables(), *report.remarks())
