"""`regionspot evaluate cached`."""

from __future__ import annotations

from typing import Any

from regionspot_core.support.options import takes
from regionspot_evaluate.config import CachedConfig


@takes(CachedConfig)
def cached(values: dict[str, Any]) -> None:
    """Score heads on a store's tokens and boxes. SAM and CLIP need not be installed.

    Prints box figures, by LVIS's rules or COCO's as the data allow, and how
    regions are named: top-1, top-5, and the mean over classes. Several heads
    share one read of the store.
    """
    config = CachedConfig.parse(values, source="regionspot evaluate cached")

    from regionspot_core.support.tables import show
    from regionspot_evaluate.cached import run_cached_evaluation

    report = run_cached_evaluation(config)
    show(*report.tables(), *report.remarks())
