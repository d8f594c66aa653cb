"""`regionspot train`: fit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Train a fusion head on cached features alone.",
    no_args_is_help=True,
)


@app.callback()
def train() -> None:
    """Train a fusion head on cached features alone."""


@app.command()
def fit(
    cache: Annotated[
        Path, typer.Option("--cache", metavar="STORE", help="A store that `extract run` wrote.")
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="RUN", help="Folder for the head, its log and curve.")
    ],
    config: Annotated[
        str | None,
        typer.Option(
            "--config", metavar="NAME|FILE", help="A recipe (paper, demo) or a TOML file."
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="A.B=VALUE", help="Change one key; may be repeated."),
    ] = None,
) -> None:
    """Train one head. Neither SAM nor CLIP is loaded, and neither need be installed."""
    from regionspot_core.tables import facts_table, format_seconds, show
    from regionspot_train.config import TrainConfig, recipe_or_file
    from regionspot_train.run import run_training

    path = None if config is None else recipe_or_file(config)
    settings = TrainConfig.load(path, overrides or [])
    report = run_training(settings, cache_path=cache, out=out)
    facts = {
        "steps": f"{report.steps:,} in {format_seconds(report.seconds)}",
        "loss": f"{report.loss:.4g} over the last steps",
        "parameters": f"{report.parameters:,}",
        "written": "head.safetensors, head.json, config.json, metrics.jsonl, loss.png",
    }
    show(facts_table(str(out), facts))
