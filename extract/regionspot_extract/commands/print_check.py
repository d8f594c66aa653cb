"""What `regionspot extract check` prints."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from regionspot_core.datasets.usable import examples_of
from regionspot_core.support.tables import counted, facts_table, show, show_unbroken
from regionspot_extract.check import DatasetReport
from regionspot_extract.config import CheckConfig


def print_check(config: CheckConfig, report: DatasetReport, *, as_json: bool) -> None:
    """Print what a data set holds, and of what is the matter only what there is."""
    if as_json:
        print(json.dumps(asdict(report), indent=2, ensure_ascii=False))  # noqa: T201 - the output
        return
    show(facts_table(str(config.annotations), _contents(report)))
    problems = _problems(report, config)
    if problems:
        show("", facts_table("To look at", problems))
    if report.pictures:
        show("")
        show_unbroken(f"{config.pictures}: {', '.join(report.pictures)}, from left to right")


def _contents(report: DatasetReport) -> dict[str, str]:
    without = report.images_without_regions
    unused = report.classes_without_regions
    largest = report.files.largest
    return {
        "format": report.format,
        "images": f"{report.images:,}"
        + (f" of {report.images_listed:,}" if report.images < report.images_listed else "")
        + (f", {without:,} without regions" if without else ""),
        "regions": f"{report.regions:,}",
        "masks": f"{report.masks:,}" if report.masks else "none",
        "classes": f"{report.classes:,}" + (f", {unused:,} without regions" if unused else ""),
        "largest": "\n".join(f"{each.width:,} × {each.height:,}: {each.file}" for each in largest),
    }


def _problems(report: DatasetReport, config: CheckConfig) -> dict[str, str]:
    files = report.files
    left_out = ", ".join(
        f"{count:,} {reason}" for reason, count in report.left_out.items() if count
    )
    clipped = f"{report.clipped:,} box{'es' if report.clipped > 1 else ''} beyond the image"
    rows = {
        "left out": left_out,
        "clipped": clipped if report.clipped else "",
        "missing": _named(files.missing),
        "not readable": _named(files.not_readable),
        "other size": _named(files.other_size, "not as annotated, left out"),
        "too large": _named(files.too_large, f"above --max-pixels {config.max_pixels:,}"),
        "turned": _named(files.turned, "by EXIF, since only so the annotated size fits"),
        "not turned": _named(
            files.not_turned,
            "EXIF would turn them, and their size does not tell whether they were annotated so: "
            "taken as stored; see with --pictures whether boxes fit",
        ),
        "not listed": f"{counted(report.not_listed, 'image')} without an entry"
        if report.not_listed
        else "",
    }
    return {name: text for name, text in rows.items() if text}


def _named(files: Sequence[str], about: str = "") -> str:
    """Return a count of files with the first of them; nothing where there is none."""
    if not files:
        return ""
    found = f"{counted(len(files), 'image')} ({examples_of(files)})"
    return f"{found}: {about}" if about else found
