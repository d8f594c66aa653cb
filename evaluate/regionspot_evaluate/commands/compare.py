"""`regionspot evaluate compare`."""

from __future__ import annotations

from typing import Any

from regionspot_core.support.options import takes
from regionspot_evaluate.reports.compare.config import CompareConfig


@takes(CompareConfig)
def compare(values: dict[str, Any]) -> None:
    """Score several detectors by one protocol, a row each.

    Rows keep the order given. Intervals say what other sets of as many images
    would give; every row has the same draws of images, and so has its
    difference from the first row.
    """
    config = CompareConfig.parse(values, source="regionspot evaluate compare")

    from regionspot_core.support.tables import show
    from regionspot_evaluate.reports.compare.run import run_comparison

    report = run_comparison(config)
    show(*report.tables(), *report.remarks())
