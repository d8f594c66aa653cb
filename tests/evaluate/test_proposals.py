"""Proposals by name: the annotated boxes, or a file."""

import json
from pathlib import Path

import numpy as np
import pytest

from regionspot_core.datasets.record import AnnotationSet
from regionspot_core.errors import AnnotationError
from regionspot_core.testing import make_annotations
from regionspot_evaluate.proposals.sources import load_proposals


@pytest.fixture
def annotations() -> AnnotationSet:
    return make_annotations([2, 0, 1])


def test_annotated_boxes_are_sure_and_known(annotations: AnnotationSet) -> None:
    loaded = load_proposals("gt", annotations)
    assert [len(p.boxes) for p in loaded] == [2, 0, 1]
    for image, proposals in enumerate(loaded):
        regions = annotations.regions(image)
        assert np.array_equal(proposals.boxes, annotations.box[regions])
        assert np.array_equal(proposals.classes, annotations.class_index[regions])
        assert proposals.scores.tolist() == [1.0] * len(proposals.boxes)


def test_any_other_name_is_a_file(tmp_path: Path, annotations: AnnotationSet) -> None:
    path = tmp_path / "proposals.json"
    path.write_text(json.dumps([{"image_id": 17, "bbox": [1, 2, 3, 4], "score": 0.5}]))
    loaded = load_proposals(str(path), annotations)
    assert [len(p.boxes) for p in loaded] == [0, 0, 1]
    assert loaded[2].classes.tolist() == [-1]


def test_a_source_without_any_box_is_refused(tmp_path: Path, annotations: AnnotationSet) -> None:
    (tmp_path / "none.json").write_text("{}")
    with pytest.raises(
        AnnotationError, match=r"none\.json: expected boxes .* none for any of the 3"
    ):
        load_proposals(str(tmp_path / "none.json"), annotations)
    with pytest.raises(AnnotationError, match="none for any of the 2 images"):
        load_proposals("gt", make_annotations([0, 0]))
    assert load_proposals("auto", make_annotations([0, 0])) is None
