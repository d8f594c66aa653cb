"""The HTML file: one page with its style, its program, its charts' library and its data inside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from regionspot_core import __version__
from regionspot_core.scoring.figures import METRICS
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
    write_page(
        path,
        _part("page.html.jinja"),
        title=f"{name} – evaluation",
        style=_part("page.css"),
        figures=figures,
        gallery=gallery,
        metrics=METRICS,
        libraries=[_part(name) for name in _LIBRARIES],
        program=_part("page.js"),
        data=_inline({**figures, "gallery": gallery}),
        version=__version__,
        json_name=path.with_suffix(".json").name,
        classes_name=path.with_suffix(".classes.csv").name,
        confusions_name=path.with_suffix(".confusions.csv").name,
    )


def _part(name: str) -> str:
    return packaged_text("regionspot_evaluate.reports.html", name)


def _inline(value: object) -> str:
    """Return JSON for a script element: nothing in it can end one or open a comment."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
