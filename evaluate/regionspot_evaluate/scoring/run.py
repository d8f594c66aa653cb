"""The main path of `regionspot evaluate score`: annotations, detections, figures."""

from __future__ import annotations

from regionspot_core.datasets.reading import read_table
from regionspot_core.datasets.table import AnnotationTable
from regionspot_core.support.files import require_place_for_file, write_json
from regionspot_evaluate.scoring.config import ScoreConfig
from regionspot_evaluate.scoring.figures import Iou, Package, Score, largest_difference
from regionspot_evaluate.scoring.registry import PROTOCOL_TABLE
from regionspot_evaluate.scoring.report import ScoreReport


def run_scoring(config: ScoreConfig) -> ScoreReport:
    """Score a results file, and write the JSON that is asked for.

    Raises:
        InputError: If ``json_file`` is no place for a file.
        AnnotationError: If the annotations or the detections are malformed.
    """
    if config.json_file is not None:
        require_place_for_file(config.json_file, option="--json")
    table = read_table(config.annotations, masks="segm" in config.iou)
    scores = _scores(config.scorer, config, table)
    difference = None
    if config.check:
        reference = _scores("reference", config, table)
        difference = max(
            largest_difference(scores[iou].values, reference[iou].values) for iou in scores
        )
    report = ScoreReport(config.annotations, config.detections, tuple(scores.values()), difference)
    if config.json_file is not None:
        write_json(config.json_file, report.to_json())
    return report


def _scores(package: Package, config: ScoreConfig, table: AnnotationTable) -> dict[Iou, Score]:
    scorer = PROTOCOL_TABLE[config.protocol].create(table, config.iou, package)
    protocols = (config.protocol,)
    return scorer.score_all(config.detections, ious=config.iou, protocols=protocols)[
        config.protocol
    ]
