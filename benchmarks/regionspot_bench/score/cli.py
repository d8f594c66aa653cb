"""`regionspot bench score`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def add_score(app: typer.Typer) -> None:
    """Add the command to `regionspot bench`, whose ``app`` it is."""

    @app.command()
    def score(
        directory: Annotated[
            Path | None,
            typer.Option(
                "--dir",
                metavar="DIR",
                show_default="the system's for temporary files",
                help="Where files of up to 1 GB are generated, and removed after.",
            ),
        ] = None,
        quick: Annotated[
            bool, typer.Option("--quick", help="Fewer images: under 50 seconds.")
        ] = False,
        json_file: Annotated[
            Path | None,
            typer.Option("--json", metavar="FILE", help="Write the figures as JSON too."),
        ] = None,
    ) -> None:
        """Score generated files beside LVIS's own package, and look at the memory.

        From files to figures on both sides. The exit code is 1 where what is
        required is not met.
        """
        from regionspot_bench.score.config import ScoreBenchConfig
        from regionspot_bench.score.run import run_score_benchmark
        from regionspot_core.support.tables import show

        config = ScoreBenchConfig.parse(
            {"dir": directory, "quick": quick, "json_file": json_file},
            source="regionspot bench score",
        )
        report = run_score_benchmark(config)
        show(*report.tables())
        if not report.all_met:
            raise typer.Exit(1)
