"""What a data set is scored by follows from what its annotations hold."""

import pytest

from regionspot_core.datasets.table import Obstacles
from regionspot_core.errors import AnnotationError
from regionspot_core.scoring.plan import plan_scoring

LVIS = Obstacles()
NO_LISTS = "image 1 has no neg_category_ids"
NO_MASK = "annotation 3 has no mask"
COCO = Obstacles(federated=NO_LISTS)
BOXES = Obstacles(federated=NO_LISTS, masks=NO_MASK)


@pytest.mark.parametrize(
    ("obstacles", "protocol", "ious", "line"),
    [
        (LVIS, "lvis", ("bbox", "segm"), "LVIS's rules, boxes and masks: each image has lists"),
        (COCO, "coco", ("bbox", "segm"), f"COCO's rules, boxes and masks: {NO_LISTS}"),
        (BOXES, "coco", ("bbox",), f"COCO's rules, boxes alone: {NO_LISTS}; {NO_MASK}"),
        (Obstacles(masks=NO_MASK), "lvis", ("bbox",), "LVIS's rules, boxes alone: each image"),
    ],
)
def test_it_follows_from_the_annotations(
    obstacles: Obstacles, protocol: str, ious: tuple[str, ...], line: str
) -> None:
    plan = plan_scoring(obstacles, what="val.json")
    assert plan.protocols == (protocol,)
    assert plan.ious == ious
    assert plan.line.startswith(f"scored by {line}")


def test_what_is_asked_for_goes_first() -> None:
    plan = plan_scoring(LVIS, what="val.json", protocols=["lvis-fixed", "coco"], ious=["segm"])
    assert (plan.protocols, plan.ious) == (("lvis-fixed", "coco"), ("segm",))
    assert plan.line == (
        "scored by LVIS's rules with fixed AP and COCO's rules, masks alone: as asked"
    )


def test_what_the_annotations_cannot_give_is_said() -> None:
    with pytest.raises(AnnotationError, match=rf"val.json: protocol lvis needs .* {NO_LISTS}"):
        plan_scoring(COCO, what="val.json", protocols=["lvis"])
    with pytest.raises(AnnotationError, match=f"masks cannot be scored, since {NO_MASK}"):
        plan_scoring(BOXES, what="val.json", ious=["bbox", "segm"])
