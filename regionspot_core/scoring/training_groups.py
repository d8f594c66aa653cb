"""Average precision of the classes that a head has seen often, seldom or never in its training.

LVIS says of its classes how frequent they are; of any other data set a head's own record says how
many regions of a class it learnt from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regionspot_core.text.class_text import name_as_read

FEW = 10
"""Most training regions of a class that has been seen seldom. LVIS's rare classes have at most so
many training images (Gupta et al. 2019)."""
GROUP_REGIONS = {"seen": f"> {FEW}", "few": f"1 to {FEW}", "unseen": "0"}
"""Groups of classes, and the numbers of training regions in words."""


@dataclass(frozen=True)
class GroupPrecision:
    """Average precision of a group of classes."""

    ap: float | None
    """Mean over the group's classes with an annotated region, 0 to 1; None without any."""
    classes: int
    """Number of these classes."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


TrainingGroups = dict[str, GroupPrecision]
"""Average precision by the name of the group."""


def group_precision(
    names: Sequence[str], class_ap_K: NDArray[np.float64], counts: Mapping[str, int]
) -> TrainingGroups:
    """Return the average precision of each group of ``GROUP_REGIONS``.

    Names are compared as CLIP reads them: ``dining_table`` is ``Dining table``.

    Args:
        names: K class names.
        class_ap_K: Average precision of each class; NaN where it has no annotated region.
        counts: Training regions by class name; a class that is not there has none.
    """
    regions = Counter[str]()
    for name, count in counts.items():
        regions[name_as_read(name)] += count
    group_K = np.array([_group(regions[name_as_read(name)]) for name in names])
    measured_K = ~np.isnan(class_ap_K)
    found = {}
    for group in GROUP_REGIONS:
        ap = class_ap_K[measured_K & (group_K == group)]
        found[group] = GroupPrecision(float(ap.mean()) if len(ap) else None, len(ap))
    return found


def _group(regions: int) -> str:
    if regions > FEW:
        return "seen"
    return "few" if regions else "unseen"
