"""`regionspot evaluate compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from regionspot_core.support.arguments import existing_path
from regionspot_evaluate.commands.score import Ious, JsonFile, Protocol


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN",
            help="Folders that `evaluate run` or `evaluate cached` wrote, or results files of any "
            "detector; NAME=PATH names the row.",
        ),
    ],
    annotations: Annotated[
        Path,
        typer.Option(
            "--annotations", callback=existing_path, metavar="FILE", help="LVIS annotation JSON."
        ),
    ],
    iou: Ious = "bbox",
    protocol: Protocol = "standard",
    bootstrap: Annotated[
        int,
        typer.Option(
            "--bootstrap",
            metavar="N",
            help="Draws of half of the images for 95 % intervals; 0: none.",
        ),
    ] = 200,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of these draws.")] = 0,
    published: Annotated[
        bool,
        typer.Option("--published", help="Papers' figures beside them, on LVIS v1 val or minival."),
    ] = False,
    json_file: JsonFile = None,
) -> None:
    """Score several detectors by one protocol, a row each.

    Rows keep the order given. Intervals say what other sets of as many images
    would give; every row has the same draws of images, and so has its
    difference from the first row.
    """
    from regionspot_core.support.tables import show
    from regionspot_evaluate.reports.compare.config import CompareConfig
    from regionspot_evaluate.reports.compare.run import run_comparison

    config = CompareConfig.parse(
        {
            "runs": runs,
            "annotations": annotations,
            "iou": iou,
            "protocol": protocol,
            "bootstrap": bootstrap,
            "seed": seed,
            "published": published,
            "json_file": json_file,
        },
        source="regionspot evaluate compare",
    )
    report = run_comparison(config)
    show(*report.tables(), *report.remarks())
