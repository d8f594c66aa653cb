"""Which results files are compared, and what their rows are called."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from regionspot_core.errors import InputError
from regionspot_evaluate.folder.detections import find_results
from regionspot_evaluate.reports.html.read_run import heads_below, open_run


def find_rows(runs: Sequence[str]) -> dict[str, Path]:
    """Return the results file of each row, by its name.

    Args:
        runs: ``PATH`` or ``NAME=PATH``. A folder of several heads makes a row of each.

    Raises:
        InputError: If a run has neither detections nor a file, or two rows share a name.
    """
    rows: dict[str, Path] = {}
    for text in runs:
        name, path = _name_and_path(text)
        for own_name, results in _results_of(name, path).items():
            if own_name in rows:
                raise InputError(
                    f"{results}: another row is named {own_name!r}; give NAME=PATH to tell them "
                    f"apart"
                )
            rows[own_name] = results
    return rows


def _name_and_path(text: str) -> tuple[str | None, Path]:
    """Return the name and path of an argument; a path that exists may itself hold ``=``."""
    name, equals, rest = text.partition("=")
    if not equals or Path(text).exists():
        return None, Path(text)
    if not name or not rest:
        raise InputError(f"{text!r}: expected PATH or NAME=PATH")
    return name, Path(rest)


def _results_of(name: str | None, path: Path) -> dict[str, Path]:
    heads = heads_below(path) if path.is_dir() and find_results(path) is None else {}
    if heads:
        prefix = "" if name is None else f"{name} "
        return {prefix + head: results for head, results in heads.items()}
    run = open_run(path)
    return {name or run.name: run.results}
