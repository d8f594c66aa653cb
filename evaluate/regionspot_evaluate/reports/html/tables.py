"""A report's tables as CSV files, for a spreadsheet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from regionspot_core.support.csv_cells import write_csv


def table_files(report: Path) -> tuple[Path, Path]:
    """Return the files that :func:`write_tables` writes."""
    return report.with_suffix(".classes.csv"), report.with_suffix(".confusions.csv")


def write_tables(report: Path, figures: dict[str, Any]) -> list[Path]:
    """Write ``NAME.classes.csv`` and ``NAME.confusions.csv`` beside ``NAME.html``."""
    runs = [run["name"] for run in figures["runs"]]
    if len(set(runs)) < len(runs):
        runs = [f"{letter} {name}" for letter, name in zip("ABCDEFGH", runs, strict=False)]
    classes, pairs = table_files(report)
    columns = [
        f"{figure} {run}" for run in runs for figure in ("AP", "AP50", "mask AP", "named right")
    ]
    write_csv(
        classes,
        ["id", "name", "frequency", "images", "regions", *columns],
        (
            [each["id"], each["name"], each["frequency"], each["images"], each["regions"]]
            + [r[key] for r in each["runs"] or () for key in ("ap", "ap50", "mask_ap", "right")]
            for each in figures["classes"]
        ),
    )
    names = [each["name"] for each in figures["classes"]]
    write_csv(
        pairs,
        ["run", "true", "said", "regions", "of", "mean score"],
        (
            [name, names[p["true"]], names[p["said"]], p["count"], p["of"], p["score"]]
            for name, run in zip(runs, figures["runs"], strict=True)
            for p in run["confusions"]
        ),
    )
    return [classes, pairs]
