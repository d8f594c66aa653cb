"""`regionspot evaluate score`, and the options of all commands that score."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from regionspot_core.support.arguments import existing_file, existing_path

Ious = Annotated[str, typer.Option("--iou", metavar="bbox,segm", help="Boxes, masks, or both.")]
Protocol = Annotated[
    str,
    typer.Option(
        "--protocol",
        metavar="standard|fixed",
        help="The best 300 of an image, or the best 10,000 of a class (LVIS fixed AP).",
    ),
]
JsonFile = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write the figures as JSON too.")
]


def score(
    annotations: Annotated[
        Path,
        typer.Option(
            "--annotations",
            callback=existing_path,
            metavar="FILE",
            help="LVIS annotation JSON; COCO's for --scorer coco.",
        ),
    ],
    detections: Annotated[
        Path,
        typer.Option(
            "--detections",
            callback=existing_file,
            metavar="FILE",
            help="Results JSON, LVIS's or COCO's.",
        ),
    ],
    iou: Ious = "bbox",
    protocol: Protocol = "standard",
    scorer: Annotated[
        str,
        typer.Option(
            "--scorer",
            metavar="fast|lvis|coco",
            help="hotcoco, LVIS's own package, or pycocotools for COCO and ODinW.",
        ),
    ] = "fast",
    check: Annotated[
        bool,
        typer.Option("--check", help="Let LVIS's own package score too; say how far apart."),
    ] = False,
    json_file: JsonFile = None,
) -> None:
    """Score any detector's results file.

    A detection that cannot be scored is an error that counts all such and
    shows the first; none is left out. The exit code is 1 where --check finds
    a difference above 1e-6.
    """
    from regionspot_core.support.tables import show
    from regionspot_evaluate.scoring.config import ScoreConfig
    from regionspot_evaluate.scoring.run import run_scoring

    config = ScoreConfig.parse(
        {
            "annotations": annotations,
            "detections": detections,
            "iou": iou,
            "protocol": protocol,
            "scorer": scorer,
            "check": check,
            "json_file": json_file,
        },
        source="regionspot evaluate score",
    )
    scored = run_scoring(config)
    show(*scored.tables())
    if not scored.agrees:
        raise typer.Exit(1)
