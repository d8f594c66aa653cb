"""`regionspot evaluate odinw`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from regionspot_core.support.arguments import existing_folder
from regionspot_core.support.options import takes
from regionspot_evaluate.commands.models import AS_RECORDED, with_models_of_head
from regionspot_evaluate.config import EvaluateConfig

_PER_SET = ("images", "annotations", "protocol", "shard", "engine", "ray", "bank")


@takes(EvaluateConfig, without=_PER_SET, unset=AS_RECORDED)
def odinw(
    root: Annotated[
        Path,
        typer.Option(
            "--root",
            metavar="DIR",
            help="Folder with a folder for each data set, as ODinW is published.",
            callback=existing_folder,
        ),
    ],
    values: dict[str, Any],
    split: Annotated[
        Literal["valid", "test", "train"], typer.Option("--split", help="Split that is scored.")
    ] = "valid",
) -> None:
    """Evaluate the data sets of ODinW, or others that lie as they do, in one go.

    Box AP of each set by COCO's rules, and the mean over all of them, over
    ODinW's 13 and over its 35. The models are loaded once. Each set has a folder
    of `evaluate run` below --out; interrupted, the same command goes on. As
    --proposals, a folder has a file NAME.json for each set.
    """
    values = with_models_of_head(values, values["heads"][0])

    from regionspot_core.support.tables import show
    from regionspot_evaluate.odinw.run import run_odinw

    report = run_odinw(values, root, split)
    show(report.table(), *report.remarks())
    if report.failed:
        raise typer.Exit(1)
