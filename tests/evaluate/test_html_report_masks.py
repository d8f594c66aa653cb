"""A report's mask figures, by class too, are those of LVIS's own package."""

import json
from pathlib import Path

import numpy as np
import pytest
from lvis import LVIS, LVISEval, LVISResults
from lvis_runs import Entries, make_annotations, make_detections, write_annotations

from regionspot_core.datasets.detections.detections_file import DetectionsFile
from regionspot_core.datasets.reading import read_annotations, read_table
from regionspot_core.datasets.record import AnnotationSet
from regionspot_core.datasets.truth import Truth
from regionspot_core.errors import AnnotationError
from regionspot_evaluate.reports.html.figures import analyse
from regionspot_evaluate.reports.html.mask_precision import MaskPrecision
from regionspot_evaluate.reports.html.read_run import open_run
from regionspot_evaluate.scoring.reference import _old_names


def truth_of(annotations: AnnotationSet) -> Truth:
    return read_table(annotations.path, masks=True).truth(federated=True)


def write_both(folder: Path, seed: int) -> tuple[AnnotationSet, Path, Entries]:
    rng = np.random.default_rng(seed)
    annotations = make_annotations(rng)
    entries = make_detections(rng, annotations, masks=True)
    results = folder / "results.json"
    results.write_text(json.dumps(entries))
    return read_annotations(write_annotations(folder, annotations)), results, entries


def measure_file(annotations: AnnotationSet, results: Path) -> MaskPrecision | None:
    """Return a report's mask figures, of a run that is a results file."""
    with DetectionsFile(results) as file:
        return analyse(open_run(results), file, annotations, truth_of(annotations)).masks


def measured(annotations: AnnotationSet, results: Path) -> MaskPrecision:
    found = measure_file(annotations, results)
    assert found is not None
    return found


@pytest.mark.parametrize("seed", range(4))
def test_figures_are_the_reference_scorers(seed: int, tmp_path: Path) -> None:
    annotations, results, _ = write_both(tmp_path, seed)
    truth = LVIS(str(annotations.path))
    with _old_names():
        reference = LVISEval(truth, LVISResults(truth, str(results)), "segm")
        reference.run()
    expected = reference.eval["precision"][..., 0].astype(float)  # (T, R, K), of all areas
    expected[expected < 0] = np.nan
    found = measured(annotations, results)
    order = [reference.params.cat_ids.index(k) for k in annotations.vocabulary.ids]
    np.testing.assert_allclose(found.class_ap, expected[:, :, order].mean(axis=(0, 1)), atol=1e-9)
    assert np.isfinite(found.class_ap).any()
    assert found.figures["AP"] == pytest.approx(reference.get_results()["AP"], abs=1e-9)


def test_masks_are_measured_and_not_boxes(tmp_path: Path) -> None:
    annotations, results, entries = write_both(tmp_path, 1)
    before = measured(annotations, results)
    for entry in entries:
        entry["bbox"] = [0, 0, 1, 1]
    results.write_text(json.dumps(entries))
    assert measured(annotations, results).figures["AP"] == before.figures["AP"]


def test_where_there_are_no_masks(tmp_path: Path) -> None:
    annotations, results, entries = write_both(tmp_path, 2)
    del entries[3]["segmentation"]
    results.write_text(json.dumps(entries))
    with pytest.raises(AnnotationError, match="cannot be scored"):
        measure_file(annotations, results)
    for entry in entries:
        entry.pop("segmentation", None)
    results.write_text(json.dumps(entries))
    assert measure_file(annotations, results) is None
    annotations, results, _ = write_both(tmp_path, 2)
    emptied = json.loads(annotations.path.read_text())
    for truth in emptied["annotations"]:
        truth["segmentation"] = []
    annotations.path.write_text(json.dumps(emptied))
    assert measure_file(annotations, results) is None
