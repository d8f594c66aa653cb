"""`regionspot evaluate report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from regionspot_core.support import options
from regionspot_core.support.arguments import existing_folder, existing_path


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN [RUN2]",
            callback=existing_path,
            help="One or two folders that `evaluate run` wrote, or results files of any detector.",
        ),
    ],
    annotations: Annotated[
        Path | None,
        typer.Option(
            "--annotations",
            callback=existing_path,
            metavar="FILE",
            show_default="what RUN was scored on, where it says so",
            help="LVIS annotation JSON.",
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            "--images",
            callback=existing_folder,
            metavar="DIR",
            show_default="RUN's, where it says so",
            help="Folder of the images; without it there are no pictures.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", show_default="RUN/report.html", help="The page to write."
        ),
    ] = None,
    gallery: Annotated[
        int, typer.Option("--gallery", metavar="N", help="Best, worst and random images, each.")
    ] = 12,
    max_pixels: options.MaxPixels = 100_000_000,
) -> None:
    """Write one HTML page on a run, or on two side by side; JSON and CSV beside it.

    It opens offline: average precision in parts, curves, calibration, errors,
    confusions, every class, and pictures.
    """
    from regionspot_core.support.tables import show
    from regionspot_evaluate.reports.html.config import ReportConfig
    from regionspot_evaluate.reports.html.write import write_html_report

    config = ReportConfig.parse(
        {
            "runs": runs,
            "annotations": annotations,
            "images": images,
            "out": out,
            "gallery": gallery,
            "max_pixels": max_pixels,
        },
        source="regionspot evaluate report",
    )
    show(f"written: {', '.join(map(str, write_html_report(config)))}")
