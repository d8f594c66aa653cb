"""`regionspot extract`: weights, text, plan, run, info, verify; `exchange_cli` has the others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regionspot_core.support import options
from regionspot_extract.commands.exchange import Out, Store, add_exchange

if TYPE_CHECKING:
    from regionspot_extract.config import ExtractConfig

app = typer.Typer(
    help="Run the frozen models over the images once and keep their tokens.",
    no_args_is_help=True,
)

KEPT = "What is kept"

Devices = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="NAME[,NAME]",
        help="auto, cpu, cuda, cuda:1, mps; several (cuda:0,cuda:1): a process each.",
        rich_help_panel=options.FROZEN,
    ),
]
Dtype = Annotated[
    str,
    typer.Option(
        "--dtype",
        metavar="float16|int8",
        help="Of the stored tokens; int8 takes half the bytes.",
        rich_help_panel=KEPT,
    ),
]
SamTokens = Annotated[
    str,
    typer.Option(
        "--sam-tokens",
        metavar="all|paper",
        help="SAM's tokens of a region: all five, or the paper's one.",
        rich_help_panel=KEPT,
    ),
]
Jitter = Annotated[
    int,
    typer.Option(
        "--jitter", metavar="N", help="Jittered copies of each box.", rich_help_panel=KEPT
    ),
]
Flip = Annotated[
    bool,
    typer.Option("--flip", help="The mirrored image as well.", rich_help_panel=KEPT),
]
PartImages = Annotated[
    int,
    typer.Option(
        "--part-images",
        metavar="N",
        help="Images of a part: an interruption loses two parts at most.",
    ),
]


@app.command()
def weights(
    sam: Annotated[
        str | None, typer.Option("--sam", metavar="NAME", help="SAM: vit_b, vit_l or vit_h.")
    ] = None,
    clip: Annotated[
        str | None,
        typer.Option("--clip", metavar="NAME", help="CLIP: an open_clip ViT such as ViT-B-16."),
    ] = None,
    clip_pretrained: Annotated[
        str, typer.Option("--clip-pretrained", metavar="TAG", help="open_clip's tag.")
    ] = "openai",
    only_list: Annotated[
        bool,
        typer.Option(
            "--list", help="Only say what comes from where and belongs where; fetch nothing."
        ),
    ] = False,
) -> None:
    """Fetch published weights to where the other commands look for them.

    Interrupted, the same command goes on where it stopped. For a machine
    without network, --list says which file to copy to which place.
    """
    from regionspot_extract.commands.printing import print_weight_file, print_weight_options
    from regionspot_extract.weights import (
        WeightRequest,
        check_request,
        fetch_weights,
        list_weights,
    )

    request = WeightRequest(sam, clip, clip_pretrained)
    check_request(request)
    for file in list_weights(request) if only_list else fetch_weights(request):
        print_weight_file(file)
    print_weight_options(request)


@app.command()
def plan(
    images: options.Images,
    annotations: options.Annotations,
    sam: options.Sam = "tiny",
    sam_checkpoint: options.SamCheckpoint = None,
    sam_input: options.SamInput = None,
    clip: options.Clip = "tiny",
    clip_pretrained: options.ClipPretrained = None,
    clip_input: options.ClipInput = None,
    device: Devices = "auto",
    precision: options.PrecisionName = "auto",
    compiled: options.Compile = False,
    batch: options.BatchImages = 8,
    part_images: PartImages = 256,
    workers: options.Workers = 4,
    max_pixels: options.MaxPixels = 100_000_000,
    dtype: Dtype = "float16",
    sam_tokens: SamTokens = "all",
    jitter: Jitter = 0,
    flip: Flip = False,
) -> None:
    """Say what an extraction will cost in disk and time, and write nothing.

    The time comes from encoding a few of the images here and now.
    """
    given = dict(locals())

    from regionspot_core.backbones.runtime import Runtime
    from regionspot_extract.commands.printing import print_plan
    from regionspot_extract.encoding.stages import StageClock
    from regionspot_extract.forecast import forecast
    from regionspot_extract.prepare import prepare

    config = _config(given)
    clock = StageClock(Runtime.create(config.backbones.device).device)
    extraction = prepare(config, clock=clock)
    print_plan(extraction, forecast(extraction, clock))


@app.command()
def run(
    images: options.Images,
    annotations: options.Annotations,
    out: Out,
    bank: options.Bank = None,
    sam: options.Sam = "tiny",
    sam_checkpoint: options.SamCheckpoint = None,
    sam_input: options.SamInput = None,
    clip: options.Clip = "tiny",
    clip_pretrained: options.ClipPretrained = None,
    clip_input: options.ClipInput = None,
    device: Devices = "auto",
    precision: options.PrecisionName = "auto",
    compiled: options.Compile = False,
    batch: options.BatchImages = 8,
    part_images: PartImages = 256,
    workers: options.Workers = 4,
    max_pixels: options.MaxPixels = 100_000_000,
    dtype: Dtype = "float16",
    sam_tokens: SamTokens = "all",
    jitter: Jitter = 0,
    flip: Flip = False,
    shard: Annotated[
        str,
        typer.Option(
            "--shard",
            metavar="I/N",
            help="Do the I-th of N equal shares of the parts: one task of a job array.",
        ),
    ] = "1/1",
    retry_failed: Annotated[
        bool,
        typer.Option(
            "--retry-failed", help="Do parts again of which images could not be read before."
        ),
    ] = False,
    engine: options.Engine = "local",
    ray_address: options.RayAddress = None,
    actors: options.Actors = None,
    actor_gpus: options.ActorGpus = None,
    actor_threads: options.ActorThreads = None,
) -> None:
    """Write the store. Interrupted, the same command goes on where it stopped.

    Images that cannot be read are recorded and left out. The exit code is 1 as
    long as the store lacks images, whichever call could not read them.
    """
    given = dict(locals())

    from regionspot_extract.commands.printing import print_report
    from regionspot_extract.run import run_extraction

    config = _config(given)
    report = run_extraction(config)
    print_report(str(config.out), report)
    if report.failed:
        raise typer.Exit(1)


@app.command()
def text(
    out: Annotated[Path, typer.Option("--out", metavar="FILE.h5", help="The class bank.")],
    names: options.Names = None,
    vocabulary: options.VocabularyFile = None,
    templates: options.Templates = "paper",
    wording: options.Wording = "raw",
    synonyms: options.Synonyms = False,
    clip: options.Clip = "tiny",
    clip_pretrained: options.ClipPretrained = None,
    device: options.Device = "auto",
    precision: options.PrecisionName = "float32",
) -> None:
    """Embed class names with CLIP's text tower into a bank that the other commands take.

    Interrupted, the same command goes on where it stopped.
    """
    from regionspot_core.backbones.loading import load_clip
    from regionspot_core.datasets.vocabulary_files import load_vocabulary
    from regionspot_extract.commands.printing import print_bank
    from regionspot_extract.text import TextBankConfig, make_bank

    config = TextBankConfig.parse(
        {
            "out": out,
            "text": {"templates": templates, "wording": wording, "synonyms": synonyms},
            "backbones": {
                "clip": clip,
                "clip_pretrained": clip_pretrained,
                "device": device,
                "precision": precision,
            },
        },
        source="regionspot extract text",
    )
    classes = load_vocabulary(names=names, file=vocabulary)
    print_bank(out, make_bank(config, classes, load_clip(config.backbones)))


@app.command()
def info(
    store: Store,
    as_json: options.AsJson = False,
) -> None:
    """Say what is in a store: images, regions, bytes, models, and what is missing."""
    from regionspot_extract.commands.printing import print_info
    from regionspot_extract.stores.info import describe_store

    print_info(describe_store(store), as_json=as_json)


@app.command()
def verify(
    store: Store,
    as_json: options.AsJson = False,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Make again what is damaged; takes the options that `run` was given.",
        ),
    ] = False,
    images: options.OptionalImages = None,
    annotations: options.OptionalAnnotations = None,
    bank: options.Bank = None,
    sam: options.Sam = "tiny",
    sam_checkpoint: options.SamCheckpoint = None,
    sam_input: options.SamInput = None,
    clip: options.Clip = "tiny",
    clip_pretrained: options.ClipPretrained = None,
    clip_input: options.ClipInput = None,
    device: options.Device = "auto",
    precision: options.PrecisionName = "auto",
    compiled: options.Compile = False,
    batch: options.BatchImages = 8,
    part_images: PartImages = 256,
    workers: options.Workers = 4,
    max_pixels: options.MaxPixels = 100_000_000,
    dtype: Dtype = "float16",
    sam_tokens: SamTokens = "all",
    jitter: Jitter = 0,
    flip: Flip = False,
) -> None:
    """Read every byte of a store and name the parts and images that are damaged.

    The exit code is 0 when the store is whole and complete, otherwise 1.
    With --repair only the parts at fault are done again.
    """
    given = dict(locals()) | {"out": store}

    from regionspot_core.errors import InputError
    from regionspot_extract.commands.printing import print_repair, print_verification
    from regionspot_extract.stores.verify import verify_store

    missing = [f"--{name}" for name in ("images", "annotations") if given[name] is None]
    if repair and missing:
        raise InputError(
            f"--repair needs {' and '.join(missing)} as well, and the other options that the "
            f"store was made with"
        )
    config = _config(given) if repair else None
    found = verify_store(store)
    if config is None or not found.repairable:
        print_verification(found, as_json=as_json)
        raise typer.Exit(0 if found.whole else 1)

    from regionspot_extract.stores.repair import repair_store

    repaired = repair_store(config, found)
    print_repair(repaired, as_json=as_json)
    raise typer.Exit(0 if repaired.after.whole and not repaired.failed else 1)


add_exchange(app)


def _config(given: dict[str, Any]) -> ExtractConfig:
    """The configuration from the arguments of `plan` or `run`, by name."""
    from regionspot_core.distributed.shares import Shard
    from regionspot_extract.config import ExtractConfig

    names = ("sam", "sam_checkpoint", "sam_input", "clip", "clip_pretrained", "clip_input")
    devices = tuple(given["device"].split(","))
    models = {name: given[name] for name in (*names, "precision")} | {
        "device": devices[0],
        "compile": given["batch"] * given["compiled"],
    }
    return ExtractConfig.parse(
        {
            **{name: given[name] for name in ("images", "annotations", "part_images")},
            **{name: given[name] for name in ("workers", "max_pixels")},
            "out": given.get("out", "(not written)"),
            "bank": given.get("bank"),
            "backbones": models,
            "devices": devices if len(devices) > 1 else (),
            "batch_images": given["batch"],
            "keep": {name: given[name] for name in ("dtype", "sam_tokens", "jitter", "flip")},
            "shard": Shard.from_text(given.get("shard", "1/1")),
            "retry_failed": given.get("retry_failed", False),
            "engine": given.get("engine", "local"),
            "ray": {
                "address": given.get("ray_address"),
                "actors": given.get("actors"),
                "gpus": given.get("actor_gpus"),
                "threads": given.get("actor_threads"),
            },
        },
        source="regionspot extract",
    )
