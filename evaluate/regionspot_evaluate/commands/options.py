"""Command-line options of the commands that name regions. Nothing heavy is imported here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from regionspot_core.support.arguments import existing_head

Head = Annotated[
    Path,
    typer.Option(
        "--head",
        metavar="HEAD",
        help="A folder that `train fit` or `train import` wrote, or `demo` as DIR/run.",
        callback=existing_head,
    ),
]
Heads = Annotated[
    list[Path],
    typer.Option(
        "--head",
        metavar="HEAD",
        help="A folder that `train fit` or `train import` wrote, or `demo` as DIR/run; "
        "several score what is read once.",
        callback=existing_head,
    ),
]
Pairs = Annotated[
    int, typer.Option("--pairs", metavar="N", help="Best (region, class) pairs looked at.")
]
Detections = Annotated[
    int, typer.Option("--detections", metavar="N", help="How many of them an image keeps.")
]
LOOKING = "Where SAM looks by itself"
PointsPerSide = Annotated[
    int,
    typer.Option(
        "--points-per-side",
        metavar="N",
        help="A grid of N × N points is tried.",
        rich_help_panel=LOOKING,
    ),
]
IouThreshold = Annotated[
    float | None,
    typer.Option(
        "--iou-threshold",
        metavar="X",
        show_default="the model's, 0.88",
        help="Least predicted IoU of a mask.",
        rich_help_panel=LOOKING,
    ),
]
StabilityThreshold = Annotated[
    float | None,
    typer.Option(
        "--stability-threshold",
        metavar="X",
        show_default="the model's, 0.95",
        help="Least stability of a mask.",
        rich_help_panel=LOOKING,
    ),
]
