"""`regionspot train sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from regionspot_core.support.arguments import existing_file, writable_folder
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
from regionspot_train.config import load_settings
from regionspot_train.sweep.space import Space, SweepSize


def sweep(
    cache: Cache,
    space: Annotated[
        Path,
        typer.Option(
            "--space",
            callback=existing_file,
            metavar="FILE",
            help="TOML: settings to try, and their values.",
        ),
    ],
    trials: Annotated[
        int, typer.Option("--trials", metavar="N", min=1, help="Heads to try in all.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            callback=writable_folder,
            metavar="SWEEP",
            help="New or empty folder for the study and its heads; with --resume, a sweep's.",
        ),
    ],
    val: ValidationStore = None,
    split: SplitShare = None,
    hold_out_classes: HoldOutClasses = None,
    config: SettingsFrom = None,
    overrides: Overrides = None,
    at_once: Annotated[
        int,
        typer.Option(
            "--at-once", metavar="N", min=1, help="Heads that learn from each batch that is read."
        ),
    ] = 16,
    stacked: Annotated[
        bool,
        typer.Option(
            "--stacked",
            help="Compute heads of one shape, without dropout, as one: faster where heads are "
            "small.",
        ),
    ] = False,
    ray_groups: Annotated[
        int | None,
        typer.Option(
            "--ray-groups",
            metavar="N",
            min=1,
            help="Let N groups of heads learn on a Ray cluster, each with a read, and a GPU, of "
            "its own.",
        ),
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(
            "--ray-address",
            metavar="HOST:PORT",
            help="The cluster's head; without it the one that runs here, or RAY_ADDRESS names.",
        ),
    ] = None,
    resume: Resume = False,
) -> None:
    """Try many heads, all learning from the same batches, each read once.

    Optuna says what is tried next and what is given up; its study.db opens in
    optuna-dashboard. Each head is what `fit` would make of its settings.
    Exit code 1 says that some heads failed, in this call or one before.
    """
    tried = Space.load(space)
    size = {"trials": trials, "at_once": at_once, "ray_groups": ray_groups}
    SweepSize.parse(size, source="regionspot train sweep")
    given = overrides_with(overrides, split, hold_out_classes)
    tried.require_allowed(load_settings(config, given))

    from regionspot_core.support.tables import facts_table, format_seconds, show, show_unbroken
    from regionspot_train.by_size import announce, choose_settings
    from regionspot_train.sweep.run import run_sweep

    settings, reason = choose_settings(config, given, cache)
    announce(reason)
    report = run_sweep(
        settings,
        tried,
        store=cache,
        validate_on=val,
        out=out,
        trials=trials,
        at_once=at_once,
        stacked=stacked,
        resume=resume,
        ray_groups=ray_groups,
        ray_address=ray_address,
    )
    counted = ", ".join(f"{count} {name}" for name, count in report.states.items())
    facts = {
        "heads": f"{len(report.trials)}: {counted}",
        "took": f"{format_seconds(report.seconds)}, {report.waiting_share:.0%} of it waiting for "
        f"data",
        "written": "study.db, trials.csv, trials/"
        + ("" if report.best is None else ", parallel.png, best/"),
    }
    show(report.table(), facts_table(str(out), facts))
    if failures := report.failures():
        show(facts_table("Failed", failures))
    if report.stopped is not None:
        show_unbroken(f"{out}: stopped; the same command with --resume goes on")
    if report.exit_code:
        raise typer.Exit(report.exit_code)
