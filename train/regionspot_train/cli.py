"""`regionspot train`: fit, sweep, verify, import, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from regionspot_core.support.arguments import (
    existing_file,
    existing_head,
    writable_folder,
)
from regionspot_core.support.commands import Commands
from regionspot_train.arguments import (
    Cache,
    HoldOutClasses,
    Overrides,
    Resume,
    SettingsFrom,
    SplitShare,
    ValidationStore,
    overrides_with,
)
from regionspot_train.sweep.cli import sweep

app = Commands("Train a fusion head on cached features alone.")


@app.add
def fit(
    cache: Cache,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            callback=writable_folder,
            metavar="RUN",
            help="New or empty folder for the head, its log and curve; with --resume, a run's. "
            "Only --dry-run needs none.",
        ),
    ] = None,
    config: SettingsFrom = None,
    overrides: Overrides = None,
    val: ValidationStore = None,
    split: SplitShare = None,
    hold_out_classes: HoldOutClasses = None,
    start_from: Annotated[
        Path | None,
        typer.Option(
            "--from",
            callback=existing_head,
            metavar="HEAD",
            help="Begin with this head's weights, not with fresh ones.",
        ),
    ] = None,
    resume: Resume = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Say what would be trained, and its memory; write nothing."),
    ] = False,
) -> None:
    """Train one head. Neither SAM nor CLIP is loaded, and neither need be installed.

    SIGTERM and Ctrl-C end the run with a checkpoint; the exit code is then
    143 or 130, and the same command with --resume goes on. On several GPUs:
    torchrun --nproc-per-node N --no-python regionspot train fit …
    """
    from regionspot_core.errors import InputError
    from regionspot_train.by_size import announce, choose_settings

    if out is None and not dry_run:
        raise InputError(
            "--out is missing: give a new folder for the run, or --dry-run to see what it would be"
        )
    given = overrides_with(overrides, split, hold_out_classes)
    settings, reason = choose_settings(config, given, cache)
    if dry_run:
        from regionspot_train.forecast import print_forecast

        print_forecast(settings, cache, reason)
        return
    assert out is not None
    announce(reason)

    from regionspot_core.heads.checkpoint import BEST
    from regionspot_core.support.tables import facts_table, format_seconds, show, show_unbroken
    from regionspot_train.run import run_training

    report = run_training(
        settings, store=cache, out=out, validate_on=val, resume=resume, start_from=start_from
    )
    if not report.first:
        raise typer.Exit(report.stopped or 0)
    if report.stopped is not None:
        show_unbroken(
            f"{out}: stopped after {report.steps:,} of {settings.steps:,} steps; the same command "
            f"with --resume goes on"
        )
        raise typer.Exit(report.stopped)
    before = f", {report.resumed:,} of them before" if report.resumed else ""
    early = report.steps < settings.steps
    facts = {
        "steps": f"{report.steps:,}{f' of {settings.steps:,}' if early else ''} in "
        f"{format_seconds(report.seconds)}{before}"
    }
    if early:
        facts["ended"] = f"early: {settings.validation.patience} validations brought no better head"
    if report.loss is not None:
        facts["loss"] = f"{report.loss:.4g} over the last steps"
    if report.best is not None:
        precision = "" if report.best.ap is None else f"AP {100 * report.best.ap:.1f}, "
        held_out = ""
        if report.best.held_out is not None:
            held_out = f", held-out classes {100 * report.best.held_out:.1f} %"
        facts["best"] = (
            f"{precision}top-1 {100 * report.best.top1:.1f} %, classes' mean "
            f"{100 * report.best.class_mean:.1f} %{held_out}, after step {report.best.step:,}"
        )
        if report.best.step < report.steps:
            facts["head"] = (
                f"--head {out} is that of the last step, --head {out / BEST} the best one"
            )
    facts |= {
        "parameters": f"{report.parameters:,}",
        "written": "report.html, head.safetensors, head.json, run.json, metrics.jsonl, loss.png"
        + (", best/, validation.jsonl" if report.best else ""),
    }
    show(facts_table(str(out), facts))


app.add(sweep)


@app.add
def verify(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="What `fit`, `sweep` or `import` wrote, or one head."),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Read every byte of a run's heads and checkpoints and name those that are damaged.

    The exit code is 0 when everything that is there is whole, otherwise 1.
    """
    from regionspot_train.verify import print_verification, verify_run

    result = verify_run(run)
    print_verification(result, as_json=as_json)
    raise typer.Exit(1 if result.damaged else 0)


def import_(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.pth", callback=existing_file, help="A published RegionSpot checkpoint."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", callback=writable_folder, metavar="HEAD", help="New folder for the head."
        ),
    ],
    sam: Annotated[
        str | None,
        typer.Option("--sam", metavar="NAME", help="The SAM it was trained on: vit_b, say."),
    ] = None,
    clip: Annotated[
        str | None,
        typer.Option("--clip", metavar="NAME", help="The CLIP it was trained on: ViT-L-14, say."),
    ] = None,
) -> None:
    """Turn a published checkpoint into a head that the other commands take.

    The file does not say which SAM and CLIP it fits. Named here, evaluation
    takes them by itself.
    """
    from regionspot_core.support.tables import counted, facts_table, show
    from regionspot_train.exchange import import_head

    published = import_head(file, out, sam=sam, clip=clip)
    config = published.head.config
    facts = {
        "head": f"{counted(config.layers, 'layer')}, SAM tokens {config.region_width}, CLIP tokens "
        f"{config.image_width}, text {config.text_width}",
        "parameters": f"{sum(p.numel() for p in published.head.parameters()):,}",
        "ignored": ", ".join(f"{count} of {name}" for name, count in published.ignored.items())
        or "nothing",
    }
    if published.converted:
        facts["converted"] = f"from {', '.join(published.converted)} to float32"
    facts["models"] = f"SAM {sam or 'not named'}, CLIP {clip or 'not named'}"
    show(facts_table(str(out), facts))


app.add(import_, "import")


@app.add
def export(
    head: Annotated[
        Path,
        typer.Argument(
            metavar="HEAD", callback=existing_head, help="A folder that `fit` or `import` wrote."
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE.pth", help="The file to write; must be new.")
    ],
) -> None:
    """Write a head in the published checkpoints' layout."""
    from regionspot_core.support.tables import format_bytes, show_unbroken
    from regionspot_train.exchange import export_head

    export_head(head, out)
    show_unbroken(f"{out}: {format_bytes(out.stat().st_size)}")
