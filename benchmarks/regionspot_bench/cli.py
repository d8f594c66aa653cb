"""`regionspot bench`: cache. The other stages add their own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Measure here what the project promises: ratios from one run, met or not.",
    no_args_is_help=True,
)


@app.callback()
def bench() -> None:
    """Measure here what the project promises: ratios from one run, met or not."""


@app.command()
def cache(
    shape: Annotated[
        str,
        typer.Option(
            "--shape", metavar="NAME", help="CLIP tokens: B/16 (197 × 768), L/14@336, or both."
        ),
    ] = "both",
    images: Annotated[
        int | None,
        typer.Option(
            "--images",
            metavar="N",
            show_default="1,536 of B/16, 512 of L/14@336; --quick 320 and 128",
            help="Images of the generated stores.",
        ),
    ] = None,
    regions: Annotated[
        int, typer.Option("--regions", metavar="N", help="Regions of each image.")
    ] = 10,
    directory: Annotated[
        Path | None,
        typer.Option(
            "--dir",
            metavar="DIR",
            show_default="the system's for temporary files",
            help="Where the stores are generated, and removed after: the disk to measure.",
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="B/16 alone, fewer images and rounds: under 50 seconds."),
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the figures as JSON too.")
    ] = None,
    open_parts: Annotated[int, typer.Option("--open-parts", hidden=True)] = 10_000,
) -> None:
    """Read and write a generated cache beside NumPy, torch.load, zarr-python and h5py.

    Readers deliver the same arrays and take turns, so that other work on the
    machine slows all of them alike. The exit code is 1 where a ratio that is
    required is not met.
    """
    from regionspot_bench.cache.config import CacheBenchConfig
    from regionspot_bench.cache.run import run_cache_benchmark
    from regionspot_core.support.tables import show

    config = CacheBenchConfig.parse(
        {
            "shape": "B/16" if quick and shape == "both" else shape,
            "images": images,
            "regions": regions,
            "dir": directory,
            "quick": quick,
            "json_file": json_file,
            "open_parts": open_parts,
        },
        source="regionspot bench cache",
    )
    report = run_cache_benchmark(config)
    show(*report.tables())
    if not report.all_met:
        raise typer.Exit(1)
