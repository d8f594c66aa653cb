"""The main path of `regionspot evaluate score`: annotations, detections, figures."""

from __future__ import annotations

from regionspot_core.datasets.reading import read_table
from regionspot_core.datasets.table import AnnotationTable
from regionspot_core.support.files import require_place_for_file, write_json
from regionspot_evaluate.scoring.coco import CocoScorer
from regionspot_evaluate.scoring.config import ScoreConfig
from regionspot_evaluate.scoring.figures import Iou, Score, largest_difference
from regionspot_evaluate.scoring.report import ScoreReport
from regionspot_evaluate.scoring.scorer import LvisScorer


def run_scoring(config: ScoreConfig) -> ScoreReport:
    """Score a results file, and write the JSON that is asked for.

    Raises:
        InputError: If ``json_file`` is no place for a file.
        AnnotationError: If the annotations or the detections are malformed.
    """
    if config.json_file is not None:
        require_place_for_file(config.json_file, option="--json")
    difference = None
    table = read_table(config.annotations, masks="segm" in config.iou)
    if config.scorer == "coco":
        coco = CocoScorer(table, ious=config.iou)
        scores = coco.score_all(config.detections, ious=config.iou)
    else:
        scorer = LvisScorer(table, scorer=config.scorer, ious=config.iou)
        scores = _scores(scorer, config)
        if config.check:
            difference = _difference(config, table, scores)
    report = ScoreReport(config.annotations, config.detections, tuple(scores.values()), difference)
    if config.json_file is not None:
        write_json(config.json_file, report.to_json())
    return report


def _scores(scorer: LvisScorer, config: ScoreConfig) -> dict[Iou, Score]:
    protocols = (config.protocol,)
    found = scorer.score_all(config.detections, ious=config.iou, protocols=protocols)
    return found[config.protocol]


def _difference(config: ScoreConfig, table: AnnotationTable, scores: dict[Iou, Score]) -> float:
    reference = LvisScorer(table, scorer="lvis", ious=config.iou)
    expected = _scores(reference, config)
    return max(largest_difference(scores[iou].values, expected[iou].values) for iou in scores)
