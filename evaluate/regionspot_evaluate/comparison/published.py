"""What RegionSpot's paper says of itself, to stand beside what is measured here."""

from __future__ import annotations

from regionspot_core.errors import InputError
from regionspot_evaluate.scoring.figures import Iou
from regionspot_evaluate.scoring.truth import Truth

SOURCE = "RegionSpot (arXiv 2311.01373), LVIS v1 val, zero-shot, GLIP-T boxes"
FIGURES: dict[str, dict[Iou, dict[str, float]]] = {
    "RegionSpot-BB": {"bbox": {"AP": 0.209, "APr": 0.191}, "segm": {"AP": 0.178, "APr": 0.175}},
    "RegionSpot-BL": {"bbox": {"AP": 0.237, "APr": 0.260}, "segm": {"AP": 0.202, "APr": 0.228}},
    "RegionSpot-BL@336": {"bbox": {"AP": 0.250, "APr": 0.263}, "segm": {"AP": 0.213, "APr": 0.234}},
}
"""By LVIS's standard protocol, shares of 1. The paper gives no others for these."""
IMAGES, CLASSES = 19_809, 1_203
"""LVIS v1 val's."""


def require_lvis_val(truth: Truth) -> None:
    """Refuse to put the paper's figures beside those of other images.

    Raises:
        InputError: The annotations are not of LVIS v1 val's size.
    """
    found = (len(truth.image_id), len(truth.class_id))
    if found != (IMAGES, CLASSES):
        raise InputError(
            f"--published: expected all of LVIS v1 val, {IMAGES:,} images and {CLASSES:,} classes, "
            f"which the paper's figures are of; {truth.path} has {found[0]:,} and {found[1]:,}"
        )
