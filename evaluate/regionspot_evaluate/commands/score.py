"""`regionspot evaluate score`."""

from __future__ import annotations

from typing import Any

import typer

from regionspot_core.support.options import takes
from regionspot_evaluate.scoring.config import ScoreConfig


@takes(ScoreConfig)
def score(values: dict[str, Any]) -> None:
    """Score any detector's results file.

    Detections that cannot be scored are an error, which counts them all and
    shows the first; none is left out. The exit code is 1 where --check finds
    a difference above 1e-6.
    """
    config = ScoreConfig.parse(values, source="regionspot evaluate score")

    from regionspot_core.support.tables import show
    from regionspot_evaluate.scoring.run import run_scoring

    scored = run_scoring(config)
    show(*scored.tables())
    if not scored.agrees:
        raise typer.Exit(1)
