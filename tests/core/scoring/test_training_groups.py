"""Average precision by how often a head saw the classes in its training."""

import numpy as np
import pytest

from regionspot_core.scoring.lvis import Measured
from regionspot_core.scoring.training_groups import GroupPrecision, group_precision


def test_classes_fall_into_groups_by_their_training_regions() -> None:
    names = ("cat", "Dining table", "emu", "fox", "gnu")
    counts = {"cat": 11, "dining_table": 6, "dining  Table": 4, "emu": 0, "gnu": 99}
    ap = np.array([0.5, 0.25, 1.0, 0.5, np.nan])  # nothing is annotated of the gnu
    assert group_precision(names, ap, counts) == {
        "seen": GroupPrecision(0.5, 1),
        "few": GroupPrecision(0.25, 1),
        "unseen": GroupPrecision(0.75, 2),
    }
    assert group_precision(names[:1], ap[:1], counts)["unseen"] == GroupPrecision(None, 0)


@pytest.mark.parametrize("limits", [(), (3,)])
def test_a_class_s_own_precision_is_of_all_areas_and_the_largest_limit(
    limits: tuple[int, ...],
) -> None:
    precision = np.zeros((10, 101, 3, 4, *limits))
    whole = precision[:, :, :, 0, -1] if limits else precision[:, :, :, 0]
    whole[:5, :, 0], whole[:, :, 1] = 0.5, -1
    found = Measured.of({"AP": 0.25, "APr": -1}, precision, ("AP", "APr"))
    assert found.values == {"AP": 0.25, "APr": None}
    assert found.class_ap_K == pytest.approx([0.25, np.nan, 0], nan_ok=True)
