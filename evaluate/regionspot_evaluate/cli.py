"""`regionspot evaluate`: run, cached, predict, report, score, compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from regionspot_core import command_options as options
from regionspot_evaluate.comparison.cli import compare
from regionspot_evaluate.score_cli import score

app = typer.Typer(
    help="Put a head back behind the frozen models and score what it says.",
    no_args_is_help=True,
)

Head = Annotated[
    Path,
    typer.Option(
        "--head", metavar="HEAD", help="A folder that `train fit` or `train import` wrote."
    ),
]
Heads = Annotated[
    list[Path],
    typer.Option(
        "--head",
        metavar="HEAD",
        help="A folder that `train fit` or `train import` wrote; several score what is read once.",
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


@app.command()
def run(
    images: options.Images,
    annotations: Annotated[
        Path, typer.Option("--annotations", metavar="FILE", help="LVIS annotation JSON.")
    ],
    heads: Heads,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder for detections and figures.")
    ],
    proposals: Annotated[
        str,
        typer.Option(
            "--proposals",
            metavar="gt|auto|FILE",
            help="Annotated boxes, SAM's own, or a file: a COCO-results JSON, or "
            "{image_id: {boxes, scores, labels}} with xyxy boxes.",
        ),
    ] = "gt",
    baseline: Annotated[
        list[str] | None,
        typer.Option(
            "--baseline",
            metavar="NAME",
            show_default="clip-crop and clip-pool for annotated boxes, else none",
            help="Who names the boxes too: clip-crop, clip-masked-crop, clip-pool, or none; may be "
            "repeated. Crops are dear where boxes are many.",
        ),
    ] = None,
    protocol: Annotated[
        str,
        typer.Option(
            "--protocol",
            metavar="standard,fixed",
            help="What scores: the best 300 of an image, the best 10,000 of a class, or both.",
        ),
    ] = "standard",
    scorer: Annotated[
        str,
        typer.Option("--scorer", metavar="fast|lvis", help="hotcoco, or LVIS's own package."),
    ] = "fast",
    bank: options.Bank = None,
    sam: options.RecordedSam = None,
    sam_checkpoint: options.SamCheckpoint = None,
    sam_input: options.SamInput = None,
    clip: options.RecordedClip = None,
    clip_pretrained: options.ClipPretrained = None,
    clip_input: options.ClipInput = None,
    device: options.Device = "auto",
    precision: options.PrecisionName = "float32",
    batch: options.BatchImages = 8,
    workers: options.Workers = 4,
    pairs: Pairs = 900,
    detections: Detections = 300,
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard",
            metavar="I/N",
            help="Do the I-th of N shares of the images; then the same without it scores.",
        ),
    ] = None,
    retry_failed: Annotated[
        bool,
        typer.Option(
            "--retry-failed",
            help="Do batches again of which an image could not be read before.",
        ),
    ] = False,
    engine: options.Engine = "local",
    ray_address: options.RayAddress = None,
    actors: options.Actors = None,
    actor_gpus: options.ActorGpus = None,
    actor_threads: options.ActorThreads = None,
    points_per_side: PointsPerSide = 32,
    iou_threshold: IouThreshold = None,
    stability_threshold: StabilityThreshold = None,
) -> None:
    """Write LVIS results (boxes and masks), score them, and CLIP alone beside them.

    The annotations must have what LVIS's protocol asks for. Interrupted, the
    same command goes on. Several heads share the frozen models' work, and
    each gets a folder below --out. Started by torchrun, or with --engine ray,
    several processes share the images. Images that cannot be read are
    reported; the exit code is then 1.
    """
    from regionspot_core.shard import Shard
    from regionspot_core.tables import show
    from regionspot_evaluate.backbone_choice import backbones_of_head
    from regionspot_evaluate.config import EvaluateConfig
    from regionspot_evaluate.report import evaluation_output, share_output
    from regionspot_evaluate.run import run_share
    from regionspot_evaluate.together import evaluate_together, require_one_process

    models = {
        "sam_checkpoint": sam_checkpoint,
        "sam_input": sam_input,
        "clip_pretrained": clip_pretrained,
        "clip_input": clip_input,
        "device": device,
        "precision": precision,
    }
    config = EvaluateConfig.parse(
        {
            "images": images,
            "annotations": annotations,
            "head": heads[0],
            "more_heads": heads[1:],
            "out": out,
            "proposals": proposals,
            "baseline": baseline,
            "protocol": protocol,
            "scorer": scorer,
            "propose": {
                "points_per_side": points_per_side,
                "iou_threshold": iou_threshold,
                "stability_threshold": stability_threshold,
            },
            "bank": bank,
            "backbones": backbones_of_head(heads[0], models, sam=sam, clip=clip),
            "batch_images": batch,
            "workers": workers,
            "pairs": pairs,
            "detections": detections,
            "shard": Shard.from_text(shard or "1/1"),
            "retry_failed": retry_failed,
            "engine": engine,
            "ray": {
                "address": ray_address,
                "actors": actors,
                "gpus": actor_gpus,
                "threads": actor_threads,
            },
        },
        source="regionspot evaluate run",
    )
    if shard is not None:
        require_one_process(config)
        share = run_share(config)
        show(*share_output(shard, share))
        failed = share.failed
    else:
        reports = evaluate_together(config)
        if reports is None:
            return  # another process speaks
        show(*evaluation_output(reports))
        failed = next(iter(reports.values())).failed
    if failed:
        raise typer.Exit(1)


@app.command()
def cached(
    cache: Annotated[
        str,
        typer.Option("--cache", metavar="STORE", help="What `extract run` wrote: folder or URL."),
    ],
    heads: Heads,
    annotations: Annotated[
        Path | None,
        typer.Option(
            "--annotations",
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
            metavar="FILE",
            show_default="the store's",
            help="Class embeddings that `extract text` wrote.",
        ),
    ] = None,
    device: options.Device = "auto",
    batch: Annotated[
        int, typer.Option("--batch", metavar="N", help="Images that a head takes together.")
    ] = 32,
    pairs: Pairs = 900,
    detections: Detections = 300,
) -> None:
    """Score heads on a store's tokens and boxes. SAM and CLIP need not be installed.

    Prints LVIS box figures and how regions are named: top-1, top-5, and
    the mean over classes. Several heads share one read of the store.
    """
    from regionspot_core.tables import show
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


@app.command()
def predict(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="Any picture Pillow reads.")],
    head: Head,
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
            "--mask", metavar="FILE", help="A picture, black but for the region; may be repeated."
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
    points_per_side: PointsPerSide = 32,
    iou_threshold: IouThreshold = None,
    stability_threshold: StabilityThreshold = None,
    sam: options.RecordedSam = None,
    sam_checkpoint: options.SamCheckpoint = None,
    sam_input: options.SamInput = None,
    clip: options.RecordedClip = None,
    clip_pretrained: options.ClipPretrained = None,
    clip_input: options.ClipInput = None,
    device: options.Device = "auto",
    precision: options.PrecisionName = "float32",
) -> None:
    """Name the regions of one image: a table, IMAGE.regions.json and IMAGE.regions.png.

    Without --box, --point or --mask, SAM finds the regions by itself. A
    probability is a share among the given names: where none of them fits,
    the nearest one is still said. Boxes of one call are looked at together,
    as in training, so it depends a little on the others.
    """
    from regionspot_evaluate.backbone_choice import backbones_of_head
    from regionspot_evaluate.config import PredictConfig
    from regionspot_evaluate.predict import run_prediction
    from regionspot_evaluate.report import print_prediction

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
            "top": top,
            "least": least,
            "backbones": backbones_of_head(head, models, sam=sam, clip=clip),
        },
        source="regionspot evaluate predict",
    )
    print_prediction(image, run_prediction(config))


@app.command()
def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN [RUN2]",
            help="One or two folders that `evaluate run` wrote, or results files of any detector.",
        ),
    ],
    annotations: Annotated[
        Path | None,
        typer.Option(
            "--annotations",
            metavar="FILE",
            show_default="what RUN was scored on, where it says so",
            help="LVIS annotation JSON.",
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            "--images",
            metavar="DIR",
            show_default="RUN's, where it says so",
            help="Folder of the images; without it there are no pictures.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", show_default="RUN/report.html", help="The page to write."
        ),
    ] = None,
    gallery: Annotated[
        int, typer.Option("--gallery", metavar="N", help="Best, worst and random images, each.")
    ] = 12,
) -> None:
    """Write one HTML page on a run, or on two side by side; JSON and CSV beside it.

    It opens offline: average precision in parts, curves, calibration, errors,
    confusions, every class, and pictures.
    """
    from regionspot_core.tables import show
    from regionspot_evaluate.html_report.config import ReportConfig
    from regionspot_evaluate.html_report.write import write_html_report

    config = ReportConfig.parse(
        {
            "runs": runs,
            "annotations": annotations,
            "images": images,
            "out": out,
            "gallery": gallery,
        },
        source="regionspot evaluate report",
    )
    show(f"written: {', '.join(map(str, write_html_report(config)))}")


app.command()(score)
app.command()(compare)
