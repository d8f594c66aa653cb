"""The HTML file: one page with its style, its program, its charts' library and its data inside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from regionspot_core import __version__
from regionspot_core.support.html_page.page import packaged_text, write_page

_LIBRARIES = ("vendor/d3.min.js", "vendor/plot.min.js")


def write_report_page(path: Path, figures: dict[str, Any], gallery: dict[str, Any]) -> None:
    """Write the page, whole or not at all.

    Args:
        path: The file.
        figures: Figures from :func:`figures.collect`.
        gallery: ``parts``, each with ``name``, ``note`` and ``images``; ``pictures`` by image;
            ``note``, which says why pictures are missing, or nothing.
    """
    name = " and ".join(run["name"] for run in figures["runs"])
    differing, same = _provenance(figures["runs"])
    write_page(
        path,
        _part("page.html.jinja"),
        title=f"{name} – evaluation",
        style=_part("page.css"),
        figures=figures,
        gallery=gallery,
        metrics=list(figures["runs"][0]["box"]),
        columns=_columns(figures["runs"]),
        differing=differing,
        same=same,
        libraries=[_part(name) for name in _LIBRARIES],
        program=_part("page.js"),
        data=_inline({**figures, "gallery": gallery}),
        version=__version__,
        json_name=path.with_suffix(".json").name,
        classes_name=path.with_suffix(".classes.csv").name,
        confusions_name=path.with_suffix(".confusions.csv").name,
    )


def _columns(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the columns of the table of figures: each run's and its baselines', by kind."""
    return [
        {
            "run": number,
            "name": None if row is run else row["name"],
            "kind": kind,
            "figures": row[kind] | {"top-1": row["top1"]},
            "first": None if not number or row is not run else runs[0][kind],
        }
        for number, run in enumerate(runs)
        for row in (run, *run["baselines"])
        for kind in ("box", "mask")
        if row[kind]
    ]


def _provenance(runs: list[dict[str, Any]]) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Return the settings in which runs differ, a value a run, and those that are the same."""
    told = [run["provenance"] for run in runs]
    values = {
        key: [each.get(key, "–") for each in told]
        for key in dict.fromkeys(k for t in told for k in t)
    }
    differing = {key: row for key, row in values.items() if len(set(row)) > 1}
    return differing, {key: row[0] for key, row in values.items() if key not in differing}


def _part(name: str) -> str:
    return packaged_text("regionspot_evaluate.reports.html", name)


def _inline(value: object) -> str:
    """Return JSON for a script element: nothing in it can end one or open a comment."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
