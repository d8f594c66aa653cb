"""Command-line options that more than one stage takes. Nothing heavy is imported here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from regionspot_core.support.arguments import existing_file, existing_folder, existing_path

FROZEN = "Frozen models"

_IMAGES = {
    "metavar": "DIR",
    "help": "Folder that the file names start from.",
    "callback": existing_folder,
}
_ANNOTATIONS = {
    "metavar": "FILE|DIR",
    "help": "JSON of COCO, LVIS, Objects365 or V3Det; OpenImages' CSV of boxes; an ODinW folder.",
    "callback": existing_path,
}
Images = Annotated[Path, typer.Option("--images", **_IMAGES)]
Annotations = Annotated[Path, typer.Option("--annotations", **_ANNOTATIONS)]
OptionalImages = Annotated[Path | None, typer.Option("--images", **_IMAGES)]
OptionalAnnotations = Annotated[Path | None, typer.Option("--annotations", **_ANNOTATIONS)]
_AS_RECORDED = "as the head was trained"

_SAM = {
    "metavar": "NAME",
    "help": "Region encoder: tiny, vit_b, vit_l or vit_h.",
    "rich_help_panel": FROZEN,
}
_CLIP = {
    "metavar": "NAME",
    "help": "Image and text encoder: tiny, or an open_clip ViT such as ViT-B-16.",
    "rich_help_panel": FROZEN,
}
Sam = Annotated[str, typer.Option("--sam", **_SAM)]
Clip = Annotated[str, typer.Option("--clip", **_CLIP)]
RecordedSam = Annotated[str | None, typer.Option("--sam", show_default=_AS_RECORDED, **_SAM)]
RecordedClip = Annotated[str | None, typer.Option("--clip", show_default=_AS_RECORDED, **_CLIP)]
SamCheckpoint = Annotated[
    Path | None,
    typer.Option(
        "--sam-checkpoint",
        metavar="FILE",
        help="SAM's official checkpoint file, if it is not where `extract weights` puts it.",
        callback=existing_file,
        rich_help_panel=FROZEN,
    ),
]
ClipPretrained = Annotated[
    str | None,
    typer.Option(
        "--clip-pretrained",
        metavar="TAG|FILE",
        help="open_clip's tag (openai) or a weight file.",
        rich_help_panel=FROZEN,
    ),
]
SamInput = Annotated[
    int | None,
    typer.Option(
        "--sam-input",
        metavar="N",
        help="Side of SAM's input in pixels, if not as it was trained.",
        show_default="as trained",
        rich_help_panel=FROZEN,
    ),
]
ClipInput = Annotated[
    int | None,
    typer.Option(
        "--clip-input",
        metavar="N",
        help="Side of CLIP's input in pixels, if not as it was trained.",
        show_default="as trained",
        rich_help_panel=FROZEN,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device", metavar="NAME", help="auto, cpu, cuda, cuda:1, mps.", rich_help_panel=FROZEN
    ),
]
PrecisionName = Annotated[
    str,
    typer.Option(
        "--precision",
        metavar="TYPE",
        help="Arithmetic of the frozen models: float32, bfloat16, float16, or auto: "
        "the quickest that the device has.",
        rich_help_panel=FROZEN,
    ),
]
Compile = Annotated[
    bool,
    typer.Option(
        "--compile",
        help="Let torch.compile make kernels of the image encoders: minutes at the start.",
        rich_help_panel=FROZEN,
    ),
]
Names = Annotated[
    str | None,
    typer.Option("--names", metavar="A,B,C", help="Class names, with commas between."),
]
VocabularyFile = Annotated[
    Path | None,
    typer.Option(
        "--vocabulary",
        metavar="FILE",
        help="Class names: a text file, one a line, or an annotation file.",
        callback=existing_path,
    ),
]
Bank = Annotated[
    Path | None,
    typer.Option(
        "--bank",
        metavar="FILE",
        show_default="made as the paper does",
        help="Class embeddings that `extract text` wrote.",
        callback=existing_file,
    ),
]
Templates = Annotated[
    str,
    typer.Option(
        "--templates", metavar="NAME|FILE", help="paper (81), openai, simple, or a file of them."
    ),
]
Wording = Annotated[
    str,
    typer.Option("--wording", metavar="HOW", help="Names raw, or cleaned: dining_table's _ gone."),
]
Synonyms = Annotated[
    bool, typer.Option("--synonyms", help="Average over the annotation file's synonyms too.")
]
BatchImages = Annotated[
    int, typer.Option("--batch", metavar="N", help="Images that the models take together.")
]
Workers = Annotated[
    int, typer.Option("--workers", metavar="N", help="Threads that decode and resize images.")
]
MaxPixels = Annotated[
    int,
    typer.Option(
        "--max-pixels",
        metavar="N",
        help="Images of more are not read: a small file may stand for gigabytes of pixels.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

RAY = "On a Ray cluster"
Engine = Annotated[
    str,
    typer.Option(
        "--engine",
        metavar="local|ray",
        help="This process, or workers on a Ray cluster.",
        rich_help_panel=RAY,
    ),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        "--ray-address",
        metavar="HOST:PORT",
        help="The cluster.",
        show_default="RAY_ADDRESS, or one here",
        rich_help_panel=RAY,
    ),
]
Actors = Annotated[
    int | None,
    typer.Option(
        "--actors",
        metavar="N",
        help="Workers, each with its own models.",
        show_default="one a GPU, or as the CPUs allow",
        rich_help_panel=RAY,
    ),
]
ActorGpus = Annotated[
    float | None,
    typer.Option(
        "--actor-gpus",
        metavar="X",
        help="GPUs of a worker; 0.5 puts two on one.",
        show_default="1 where there are any",
        rich_help_panel=RAY,
    ),
]
ActorThreads = Annotated[
    int | None,
    typer.Option(
        "--actor-threads",
        metavar="N",
        help="PyTorch's CPU threads of a worker.",
        show_default="as many as here",
        rich_help_panel=RAY,
    ),
]
