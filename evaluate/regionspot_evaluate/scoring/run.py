"""The main path of `regionspot evaluate score`: annotations, detections, figures."""

from __future__ import annotations

from regionspot_core.datasets.reading import read_table
from regionspot_core.datasets.table import AnnotationTable
from regionspot_core.support.files import require_place_for_file, write_json
from regionspot_evaluate.scoring.config import ScoreConfig
from regionspot_evaluate.scoring.figures import Iou, Package, Score, largest_difference
from regionspot_evaluate.scoring.report import ScoreReport
from regionspot_evaluate.scoring.scored_images import evaluated_images
from regionspot_evaluate.scoring.table_scorer import TableScorer


def run_scoring(config: ScoreConfig) -> ScoreReport:
    """Score a results file, and write the JSON that is asked for.

    Raises:
        InputError: If ``json_file`` is no place for a file.
        AnnotationError: If the annotations or the detections are malformed.
    """
    if config.json_file is not None:
        require_place_for_file(config.json_file, option="--json")
    table = read_table(config.annotations, masks="segm" in config.iou)
    table = evaluated_images([config.detections], table)
    scorer = _scorer(config.scorer, config, table)
    scores = _scores(scorer, config)
    difference = None
    if config.check:
        reference = _scores(_scorer("reference", config, table), config)
        difference = max(
            largest_difference(scores[iou].values, reference[iou].values) for iou in scores
        )
    report = ScoreReport(
        config.annotations, config.detections, scorer.plan, tuple(scores.values()), difference
    )
    if config.json_file is not None:
        write_json(config.json_file, report.to_json())
    return report


def _scorer(package: Package, config: ScoreConfig, table: AnnotationTable) -> TableScorer:
    protocols = None if config.protocol is None else (config.protocol,)
    return TableScorer(table, protocols=protocols, ious=config.iou, package=package)


def _scores(scorer: TableScorer, config: ScoreConfig) -> dict[Iou, Score]:
    (scores,) = scorer.score(config.detections).values()
    return scores
