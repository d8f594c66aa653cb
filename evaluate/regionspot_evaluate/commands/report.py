"""`regionspot evaluate report`."""

from __future__ import annotations

from typing import Any

from regionspot_core.support.options import takes
from regionspot_evaluate.reports.html.config import ReportConfig


@takes(ReportConfig)
def report(values: dict[str, Any]) -> None:
    """Write one HTML page on a run, or on several side by side; JSON and CSV beside it.

    It opens offline: average precision in parts, curves, calibration, errors,
    confusions, every class, and pictures.
    """
    config = ReportConfig.parse(values, source="regionspot evaluate report")

    from regionspot_core.support.tables import show_written
    from regionspot_evaluate.reports.html.write import write_html_report

    show_written(*write_html_report(config))
