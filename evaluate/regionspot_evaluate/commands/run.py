"""`regionspot evaluate run`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from regionspot_core.support import options
from regionspot_core.support.arguments import existing_path
from regionspot_evaluate.commands import options as naming
from regionspot_evaluate.recognition.baselines.names import BASELINE_TABLE


def run(
    images: options.Images,
    annotations: Annotated[
        Path,
        typer.Option(
            "--annotations", callback=existing_path, metavar="FILE", help="LVIS annotation JSON."
        ),
    ],
    heads: naming.Heads,
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
            help=f"Baselines that name the boxes too: {', '.join(BASELINE_TABLE)}, or none; may be "
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
    precision: options.PrecisionName = "auto",
    compiled: options.Compile = False,
    batch: options.BatchImages = 8,
    workers: options.Workers = 4,
    max_pixels: options.MaxPixels = 100_000_000,
    pairs: naming.Pairs = 900,
    detections: naming.Detections = 300,
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
    points_per_side: naming.PointsPerSide = 32,
    iou_threshold: naming.IouThreshold = None,
    stability_threshold: naming.StabilityThreshold = None,
) -> None:
    """Write LVIS results (boxes and masks), score them, and CLIP alone beside them.

    The annotations must have what LVIS's protocol asks for. Interrupted, the
    same command goes on. Several heads share the frozen models' work, and
    each gets a folder below --out. Started by torchrun, or with --engine ray,
    several processes share the images. Images that cannot be read are
    reported; the exit code is then 1.
    """
    from regionspot_core.distributed.shard import Shard
    from regionspot_core.support.tables import show
    from regionspot_evaluate.config import EvaluateConfig
    from regionspot_evaluate.recognition.choose_backbones import backbones_of_head
    from regionspot_evaluate.reports.printing import evaluation_output, share_output
    from regionspot_evaluate.run import run_share
    from regionspot_evaluate.together import evaluate_together, require_one_process

    models = {
        "sam_checkpoint": sam_checkpoint,
        "sam_input": sam_input,
        "clip_pretrained": clip_pretrained,
        "clip_input": clip_input,
        "device": device,
        "precision": precision,
        "compile": batch * compiled,
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
            "max_pixels": max_pixels,
            "pairs": pairs,
            "detections": detections,
            "shard": Shard() if shard is None else Shard.from_text(shard),
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
