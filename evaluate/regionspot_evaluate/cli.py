"""`regionspot evaluate`: run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from regionspot_core import command_options as options

app = typer.Typer(
    help="Put a head back behind the frozen models and score what it says.",
    no_args_is_help=True,
)


@app.callback()
def evaluate() -> None:
    """Put a head back behind the frozen models and score what it says."""


@app.command()
def run(
    images: options.Images,
    annotations: options.Annotations,
    head: Annotated[
        Path, typer.Option("--head", metavar="RUN", help="A folder that `train fit` wrote.")
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder for detections and figures.")
    ],
    proposals: Annotated[
        str,
        typer.Option(
            "--proposals", metavar="gt|FILE", help="Annotated boxes, or a COCO-results JSON."
        ),
    ] = "gt",
    sam: options.RecordedSam = None,
    sam_checkpoint: options.SamCheckpoint = None,
    clip: options.RecordedClip = None,
    clip_pretrained: options.ClipPretrained = None,
    device: options.Device = "auto",
    precision: options.PrecisionName = "float32",
    batch: options.BatchImages = 8,
    workers: options.Workers = 4,
    pairs: Annotated[
        int, typer.Option("--pairs", metavar="N", help="Best (region, class) pairs looked at.")
    ] = 900,
    detections: Annotated[
        int, typer.Option("--detections", metavar="N", help="How many of them an image keeps.")
    ] = 300,
) -> None:
    """Write LVIS results (boxes and masks), score them, and CLIP-on-crop beside them.

    Images that cannot be read are reported; the exit code is then 1.
    """
    from regionspot_core.checkpoint import read_record
    from regionspot_core.tables import show
    from regionspot_evaluate.config import EvaluateConfig
    from regionspot_evaluate.run import run_evaluation

    trained_on = read_record(head).backbones
    config = EvaluateConfig.parse(
        {
            "images": images,
            "annotations": annotations,
            "head": head,
            "out": out,
            "proposals": proposals,
            "backbones": {
                "sam": sam or trained_on["region_encoder"]["name"],
                "sam_checkpoint": sam_checkpoint,
                "clip": clip or trained_on["image_text_encoder"]["name"],
                "clip_pretrained": clip_pretrained,
                "device": device,
                "precision": precision,
            },
            "batch_images": batch,
            "workers": workers,
            "pairs": pairs,
            "detections": detections,
        },
        source="regionspot evaluate run",
    )
    report = run_evaluation(config)
    show(*report.tables())
    if report.failed:
        show(f"{len(report.failed)} images could not be read, first: {report.failed[0]}")
        raise typer.Exit(1)
