"""`regionspot bench train`. It is added to the command line where a CLIP can be handed to it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from regionspot_bench.train.online import MakeClip


def add_train(app: typer.Typer, make_clip: MakeClip) -> None:
    """Add the command to `regionspot bench`.

    Args:
        app: That command's.
        make_clip: Builds the CLIP that runs online; called when the command runs.
    """

    @app.command()
    def train(
        shape: Annotated[
            str,
            typer.Option("--shape", metavar="NAME", help="The CLIP: B/16, L/14@336, or both."),
        ] = "both",
        precision: Annotated[
            str,
            typer.Option("--precision", metavar="NAME", help="float32 or bfloat16, of both sides."),
        ] = "float32",
        threads: Annotated[
            int,
            typer.Option("--threads", metavar="N", help="Of PyTorch; reading has its own."),
        ] = 1,
        directory: Annotated[
            Path | None,
            typer.Option(
                "--dir",
                metavar="DIR",
                show_default="the system's for temporary files",
                help="Where stores of up to 1 GB are generated, and removed after.",
            ),
        ] = None,
        quick: Annotated[
            bool,
            typer.Option("--quick", help="B/16 alone, fewer images and rounds: under 50 seconds."),
        ] = False,
        json_file: Annotated[
            Path | None,
            typer.Option("--json", metavar="FILE", help="Write the figures as JSON too."),
        ] = None,
    ) -> None:
        """Train on generated caches: beside CLIP run online, in memory, in a sweep.

        CLIP is the real architecture with random weights, which costs what the
        trained one costs. All runs on the CPU. The exit code is 1 where a ratio
        that is required is not met.
        """
        from regionspot_bench.train.config import TrainBenchConfig
        from regionspot_bench.train.run import run_train_benchmark
        from regionspot_core.support.tables import show

        config = TrainBenchConfig.parse(
            {
                "shape": "B/16" if quick and shape == "both" else shape,
                "precision": precision,
                "threads": threads,
                "dir": directory,
                "quick": quick,
                "json_file": json_file,
            },
            source="regionspot bench train",
        )
        report = run_train_benchmark(config, make_clip)
        show(*report.tables())
        if not report.all_met:
            raise typer.Exit(1)
