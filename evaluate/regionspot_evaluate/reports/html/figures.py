"""All figures of a report as plain values: what the page draws and the JSON file holds."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regionspot_core.datasets.detections.detections_file import DetectionsFile
from regionspot_core.datasets.record import AnnotationSet
from regionspot_core.datasets.truth import Truth
from regionspot_core.heads.score_fusion import ScoreFusion
from regionspot_evaluate.recognition.baselines.names import baseline_label
from regionspot_evaluate.reports.html.mask_precision import MaskPrecision, measure_masks
from regionspot_evaluate.reports.html.naming import (
    MISSED,
    Confusion,
    Naming,
    confusions,
    name_regions,
    share_right,
    worst_matrix,
)
from regionspot_evaluate.reports.html.precision import (
    Precision,
    measure_precision,
)
from regionspot_evaluate.reports.html.read_run import Detections, Run, sort_detections
from regionspot_evaluate.scoring.classification import FREQUENCY_NAMES
from regionspot_evaluate.scoring.fast import departure_of_truth
from regionspot_evaluate.scoring.figures import (
    KINDS,
    LVIS_PROTOCOLS,
    PROTOCOL_TITLES,
    Iou,
    Protocol,
)
from regionspot_evaluate.scoring.results import Results
from regionspot_evaluate.scoring.selection import protocol_of
from regionspot_evaluate.scoring.unknown import UnknownFigures

PAIRS = 200
"""Confusions listed, the most frequent ones."""
OTHER_NAMES = 3
"""Most frequent wrong classes that are listed for each class."""
RECALL_STEP = 5
"""Step between the points of a class's curve that are kept, of 101."""
TOLERANCE = 5e-4
"""Largest difference between figures of a run's record and of its detections."""


@dataclass(frozen=True)
class Analysis:
    """One run, measured."""

    run: Run
    file: DetectionsFile
    """The run's results, still open for the masks of the pictures."""
    detections: Detections
    precision: Precision
    masks: MaskPrecision | None
    """None where there are none to measure."""
    protocol: Protocol
    departure: str | None
    """Reason why the report's figures, by hotcoco, are not LVIS's own; None if they are."""
    naming: Naming


def analyse(run: Run, file: DetectionsFile, annotations: AnnotationSet, truth: Truth) -> Analysis:
    """Read a run's detections from its open file, checked as for scoring, and measure them."""
    masks = truth.masks is not None and truth.has_mask.all() and file.has_masks()
    ious: tuple[Iou, ...] = ("bbox", "segm") if masks else ("bbox",)
    results = Results.read(file, truth, ious=ious, every_box=True)
    detections = sort_detections(results, truth, annotations)
    results = replace(results, every_box=None)  # the largest column is not needed any more
    return Analysis(
        run,
        file,
        detections,
        measure_precision(annotations, truth, detections),
        measure_masks(annotations, truth, results) if masks else None,
        protocol_of(truth),
        departure_of_truth(truth),
        name_regions(annotations, detections),
    )


def collect(analyses: list[Analysis], annotations: AnnotationSet) -> dict[str, Any]:
    """Return the content of ``report.json``; shares of 1, null where nothing can be measured."""
    return {
        "protocol": PROTOCOL_TITLES[analyses[0].protocol],
        "federated": analyses[0].protocol in LVIS_PROTOCOLS,
        "data": {
            "annotations": str(annotations.path),
            "sha256": annotations.sha256,
            "images": len(annotations),
            "regions": len(annotations.box),
            "classes": len(np.unique(annotations.class_index)),
            "vocabulary": len(annotations.vocabulary),
        },
        "runs": [_run(each, annotations) for each in analyses],
        "classes": _classes(analyses, annotations),
        "warnings": _comparison_warnings(analyses),
    }


def _confusion(confusion: Confusion) -> dict[str, Any]:
    values = asdict(confusion)
    return {"true": values.pop("true"), "said": values.pop("predicted"), **values}


def _comparison_warnings(analyses: list[Analysis]) -> list[str]:
    """Return reasons why two runs cannot be compared."""
    given = [each.run.name for each in analyses if each.run.names_annotated_boxes]
    others = [each.run.name for each in analyses if not each.run.names_annotated_boxes]
    if not given or not others:
        return []
    was = "was" if len(given) == 1 else "were"
    return [
        f"{' and '.join(given)} {was} given the annotated boxes and {' and '.join(others)} not: "
        f"their average precision and recall cannot be compared"
    ]


def _run(analysis: Analysis, annotations: AnnotationSet) -> dict[str, Any]:
    precision, naming = analysis.precision, analysis.naming
    ranked = confusions(annotations, naming)
    matrix = worst_matrix(annotations, naming, ranked)
    return {
        "name": analysis.run.name,
        "detections": len(analysis.detections.score),
        "detections_beyond_limit": analysis.detections.beyond,
        "box": precision.figures,
        "mask": analysis.masks.figures
        if analysis.masks
        else analysis.run.figures("segm", analysis.protocol),
        "top1": analysis.run.metrics.naming.top1.get("all"),
        "baselines": _baselines(analysis),
        "fusion": _fusion(analysis.run.metrics.fusion),
        "unknown": _unknown(analysis.run.metrics.unknown_figures),
        "annotated_boxes": analysis.run.names_annotated_boxes,
        "named_right": _named_right(naming, annotations),
        "missed": _mean(naming.predicted == MISSED),
        "curves": {
            name: {group: _rounded(values) for group, values in groups.items()}
            for name, groups in precision.curves.items()
        },
        "calibration": {
            "error": precision.calibration_error,
            "bins": [asdict(each) for each in precision.calibration],
        },
        "tide": {"delta_ap50": precision.tide, "counts": precision.tide_counts},
        "confusions": [_confusion(each) for each in ranked[:PAIRS]],
        "matrix": asdict(matrix),
        "provenance": analysis.run.provenance(),
        "warnings": _warnings(analysis),
    }


def _fusion(fusion: ScoreFusion | None) -> dict[str, Any] | None:
    """Return what a run's scores are joined with, and the figures it was tuned for."""
    if fusion is None:
        return None
    tuned = fusion.tuned
    figures = None if tuned is None else {"before": tuned.before, "after": tuned.after}
    return {"line": fusion.line, "tuned": figures}


def _unknown(figures: UnknownFigures | None) -> dict[str, Any] | None:
    return None if figures is None else {"line": figures.line, **figures.to_json()}


def _baselines(analysis: Analysis) -> list[dict[str, Any]]:
    """Return the run's figures of CLIP alone on the same boxes."""
    return [
        {
            "name": baseline_label(name),
            "box": measured.of("bbox", analysis.protocol),
            "mask": measured.of("segm", analysis.protocol),
            "top1": measured.naming.top1.get("all"),
        }
        for name, measured in analysis.run.metrics.baselines.items()
    ]


def _warnings(analysis: Analysis) -> list[str]:
    """Return a line for each figure that differs from the run's own record."""
    measured: dict[Iou, dict[str, float | None] | None] = {
        "bbox": analysis.precision.figures,
        "segm": analysis.masks.figures if analysis.masks else None,
    }
    warnings = []
    if analysis.departure is not None:
        warnings.append(
            f"{analysis.run.name}: {analysis.departure}; so the figures here are not those of "
            f"LVIS's own package, which `evaluate score` gives"
        )
    for iou, figures in measured.items():
        told, now = (
            (analysis.run.figures(iou, analysis.protocol) or {}).get("AP"),
            (figures or {}).get("AP"),
        )
        if told is not None and now is not None and abs(told - now) > TOLERANCE:
            warnings.append(
                f"{analysis.run.name}: its record says {KINDS[iou].lower()} AP {100 * told:.2f}, "
                f"its detections score {100 * now:.2f} here; were they made for other annotations, "
                f"or scored by another protocol?"
            )
    return warnings


def _named_right(naming: Naming, annotations: AnnotationSet) -> dict[str, float | None]:
    marks = np.array(annotations.vocabulary.frequencies)[annotations.class_index]
    groups = {"all": np.ones(len(marks), dtype=bool)}
    groups |= {name: marks == mark for mark, name in FREQUENCY_NAMES.items()}
    return {name: _mean(naming.right[members]) for name, members in groups.items()}


def _classes(analyses: list[Analysis], annotations: AnnotationSet) -> list[dict[str, Any]]:
    """Return the classes that a run was scored on: annotated ones, and those known to be absent."""
    vocabulary, classes = annotations.vocabulary, len(annotations.vocabulary)
    owner = np.repeat(np.arange(len(annotations)), np.diff(annotations.region_start))
    pairs = np.unique(np.column_stack([owner, annotations.class_index]), axis=0)
    images = np.bincount(pairs[:, 1], minlength=classes)
    regions = np.bincount(annotations.class_index, minlength=classes)
    per_run = [_class_figures(each, annotations) for each in analyses]
    return [
        {
            "index": index,
            "id": vocabulary.ids[index],
            "name": vocabulary.names[index],
            "frequency": FREQUENCY_NAMES.get(vocabulary.frequencies[index]),
            "images": int(images[index]),
            "regions": int(regions[index]),
            "runs": [figures[index] for figures in per_run] if regions[index] else None,
        }
        for index in range(classes)
    ]


def _class_figures(analysis: Analysis, annotations: AnnotationSet) -> list[dict[str, Any]]:
    classes = len(annotations.vocabulary)
    precision, masks, naming = analysis.precision, analysis.masks, analysis.naming
    share, _ = share_right(naming, annotations.class_index, classes)
    others: dict[int, list[list[int]]] = {}
    for pair in confusions(annotations, naming):
        called = others.setdefault(pair.true, [])
        if len(called) < OTHER_NAMES:
            called.append([pair.predicted, pair.count])
    return [
        {
            "ap": _value(precision.class_ap[index]),
            "ap50": _value(precision.class_ap50[index]),
            "mask_ap": None if masks is None else _value(masks.class_ap[index]),
            "right": _value(share[index]),
            "others": others.get(index, []),
            "curve": _rounded(precision.class_curve[index, ::RECALL_STEP]),
        }
        for index in range(classes)
    ]


def _value(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), 6)


def _mean(values: NDArray[np.bool_]) -> float | None:
    return float(values.mean()) if len(values) else None


def _rounded(values: Any) -> list[float]:  # noqa: ANN401 - a list or an array
    return [round(float(value), 3) for value in values]
