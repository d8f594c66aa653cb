"""`regionspot bench extract`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from regionspot_core.support import options


def add_extract(app: typer.Typer) -> None:
    """Add the command to `regionspot bench`, whose ``app`` it is."""

    @app.command()
    def extract(
        shape: Annotated[
            str,
            typer.Option(
                "--shape", metavar="NAME", help="SAM-B with CLIP B/16, with L/14@336, or both."
            ),
        ] = "both",
        device: options.Device = "auto",
        precision: Annotated[
            str,
            typer.Option(
                "--precision", metavar="TYPE", help="Of extraction, and of the loop's autocast."
            ),
        ] = "bfloat16",
        compiled: options.Compile = False,
        batch: Annotated[
            int | None,
            typer.Option(
                "--batch",
                metavar="N",
                show_default="1 on a CPU, else 16",
                help="Images that extraction takes together.",
            ),
        ] = None,
        images: Annotated[
            int | None,
            typer.Option(
                "--images",
                metavar="N",
                show_default="4 on a CPU, else 1,024; --quick 3 and 256",
                help="Generated images that are extracted.",
            ),
        ] = None,
        workers: options.Workers = 4,
        directory: Annotated[
            Path | None,
            typer.Option(
                "--dir",
                metavar="DIR",
                show_default="the system's for temporary files",
                help="Where images and stores are generated, and removed after.",
            ),
        ] = None,
        quick: Annotated[
            bool,
            typer.Option("--quick", help="B/16 at ten regions, fewer images: under 55 seconds."),
        ] = False,
        json_file: Annotated[
            Path | None,
            typer.Option("--json", metavar="FILE", help="Write the figures as JSON too."),
        ] = None,
    ) -> None:
        """Extract generated images beside a loop of segment-anything and open_clip.

        The loop takes one image at a time, in float32 and under autocast; the
        models have random weights. The exit code is 1 where what is required
        is not met, a token that differs from the loop's for one.
        """
        from regionspot_bench.extract.config import ExtractBenchConfig
        from regionspot_bench.extract.run import run_extract_benchmark
        from regionspot_core.support.tables import show

        both = ("B/16",) if quick else ("B/16", "L/14@336")
        config = ExtractBenchConfig.parse(
            {
                "shapes": both if shape == "both" else (shape,),
                "device": device,
                "precision": precision,
                "compile": compiled,
                "batch": batch,
                "images": images,
                "workers": workers,
                "dir": directory,
                "quick": quick,
                "json_file": json_file,
            },
            source="regionspot bench extract",
        )
        report = run_extract_benchmark(config)
        show(*report.tables())
        if not report.all_met:
            raise typer.Exit(1)
