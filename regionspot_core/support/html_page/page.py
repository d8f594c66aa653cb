"""Writing a report's page: one HTML file that loads nothing else."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

from regionspot_core.support.files import written_aside


def write_page(path: Path, template: str, *, title: str, style: str = "", **values: object) -> None:
    """Write a page, whole or not at all.

    Args:
        path: The file.
        template: Jinja template that extends ``frame`` and fills its block ``body``. Text is
            escaped; ``written`` is the time now, in UTC.
        title: The page's title, in the browser's bar.
        style: CSS of this page, after that of all pages.
        values: Values of the template.
    """
    from jinja2 import Environment, StrictUndefined

    jinja = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    text = jinja.from_string(template).render(
        frame=jinja.from_string(packaged_text(__package__, "frame.html.jinja")),
        title=title,
        style=packaged_text(__package__, "style.css") + style,
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        **values,
    )
    with written_aside(path) as partial:
        # A run's name may have half a character, as a folder's may that is not of UTF-8.
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")


def packaged_text(package: str, name: str) -> str:
    """Return the text of a file that lies in a package."""
    return (files(package) / name).read_text(encoding="utf-8")
