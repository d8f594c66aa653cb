"""`regionspot evaluate predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from regionspot_core.support import options
from regionspot_core.support.arguments import existing_file
from regionspot_evaluate.commands import options as naming


def predict(
    image: Annotated[
        Path,
        typer.Argument(metavar="IMAGE", callback=existing_file, help="Any picture Pillow reads."),
    ],
    head: naming.Head,
    names: options.Names = None,
    vocabulary: options.VocabularyFile = None,
    bank: options.Bank = None,
    boxes: Annotated[
        list[str] | None,
        typer.Option("--box", metavar="X1,Y1,X2,Y2", help="A box in pixels; may be repeated."),
    ] = None,
    points: Annotated[
        list[str] | None,
        typer.Option("--point", metavar="X,Y", help="A point on a region; may be repeated."),
    ] = None,
    masks: Annotated[
        list[Path] | None,
        typer.Option(
            "--mask",
            callback=existing_file,
            metavar="FILE",
            help="A picture, black but for the region; may be repeated.",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder for the JSON and the picture.")
    ] = Path(),
    top: Annotated[int, typer.Option("--top", metavar="N", help="Names for each region.")] = 3,
    least: Annotated[
        float,
        typer.Option("--least", metavar="P", help="Leave out regions with no name so probable."),
    ] = 0.0,
    points_per_side: naming.PointsPerSide = 32,
    overlap: Annotated[
        float,
        typer.Option(
            "--overlap",
            metavar="IOU",
            help="Of two regions whose masks overlap more, the surer one stays; 1 keeps both.",
            rich_help_panel=naming.LOOKING,
        ),
    ] = 0.5,
    iou_threshold: naming.IouThreshold = None,
    stability_threshold: naming.StabilityThreshold = None,
    sam: options.RecordedSam = None,
    sam_checkpoint: options.SamCheckpoint = None,
    sam_input: options.SamInput = None,
    clip: options.RecordedClip = None,
    clip_pretrained: options.ClipPretrained = None,
    clip_input: options.ClipInput = None,
    device: options.Device = "auto",
    precision: options.PrecisionName = "auto",
    max_pixels: options.MaxPixels = 100_000_000,
) -> None:
    """Name the regions of one image: a table, IMAGE.regions.json and IMAGE.regions.png.

    Without --box, --point or --mask, SAM finds the regions by itself. A
    probability is a share among the given names: where none of them fits,
    the nearest one is still the answer. Regions of one call are looked at
    together, as in training, so it depends a little on the others.
    """
    from regionspot_evaluate.config import PredictConfig
    from regionspot_evaluate.predict import print_prediction, run_prediction
    from regionspot_evaluate.recognition.choose_backbones import backbones_of_head

    models = {
        "sam_checkpoint": sam_checkpoint,
        "sam_input": sam_input,
        "clip_pretrained": clip_pretrained,
        "clip_input": clip_input,
        "device": device,
        "precision": precision,
    }
    config = PredictConfig.parse(
        {
            "image": image,
            "head": head,
            "out": out,
            "names": names,
            "vocabulary": vocabulary,
            "bank": bank,
            "boxes": boxes or (),
            "points": points or (),
            "masks": masks or (),
            "propose": {
                "points_per_side": points_per_side,
                "iou_threshold": iou_threshold,
                "stability_threshold": stability_threshold,
            },
            "overlap": overlap,
            "top": top,
            "least": least,
            "max_pixels": max_pixels,
            "backbones": backbones_of_head(head, models, sam=sam, clip=clip),
        },
        source="regionspot evaluate predict",
    )
    print_prediction(image, run_prediction(config))
