"""`regionspot evaluate tune`."""

from __future__ import annotations

from typing import Any

from regionspot_core.support.options import takes
from regionspot_evaluate.tuning.config import TuneConfig


@takes(TuneConfig)
def tune(values: dict[str, Any]) -> None:
    """Find how a head's scores are best joined with CLIP's own, and when no name fits.

    Weights and temperatures come from classes and images that the head learnt
    nothing of: train one head with --hold-out-classes (and --split), tune on
    it, and write the result --into the head that learnt everything. The other
    commands then apply it; --fuse none, and of `predict` --unknown-threshold
    none, leave it aside.
    """
    config = TuneConfig.parse(values, source="regionspot evaluate tune")

    from regionspot_core.support.tables import show, show_written
    from regionspot_evaluate.tuning.run import run_tuning

    report = run_tuning(config)
    show(report.table(), *report.remarks())
    show_written(*report.files)
