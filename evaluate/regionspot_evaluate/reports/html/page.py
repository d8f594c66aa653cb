"""The HTML file: one page with its style, its program, its charts' library and its data inside."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from regionspot_core import __version__
from regionspot_core.scoring.figures import METRICS
from regionspot_core.support.files import written_aside

_LIBRARIES = ("vendor/d3.min.js", "vendor/plot.min.js")


def write_page(path: Path, figures: dict[str, Any], gallery: dict[str, Any]) -> None:
    """Write the page, whole or not at all.

    Args:
        path: The file.
        figures: Figures from :func:`figures.collect`.
        gallery: ``parts``, each with ``name``, ``note`` and ``images``; ``pictures`` by image;
            ``note``, which says why pictures are missing, or nothing.
    """
    from jinja2 import Environment, StrictUndefined

    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    text = page.from_string(_part("page.html.jinja")).render(
        title=" and ".join(run["name"] for run in figures["runs"]),
        figures=figures,
        gallery=gallery,
        metrics=METRICS,
        style=_part("page.css"),
        libraries=[_part(name) for name in _LIBRARIES],
        program=_part("page.js"),
        data=_inline({**figures, "gallery": gallery}),
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        version=__version__,
        json_name=path.with_suffix(".json").name,
        classes_name=path.with_suffix(".classes.csv").name,
        confusions_name=path.with_suffix(".confusions.csv").name,
    )
    with written_aside(path) as partial:
        # A run's name may have half a character, as a folder's may that is not of UTF-8.
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")


def _part(name: str) -> str:
    return (files("regionspot_evaluate.reports.html") / name).read_text(encoding="utf-8")


def _inline(value: object) -> str:
    """Return JSON for a script element: nothing in it can end one or open a comment."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
