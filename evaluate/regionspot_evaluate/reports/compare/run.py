"""The story of `regionspot evaluate compare`: results files in, one table out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from regionspot_core.datasets.reading import read_table
from regionspot_core.support.files import require_place_for_file, write_json
from regionspot_core.support.progress import progress_line
from regionspot_evaluate.reports.compare.config import CompareConfig
from regionspot_evaluate.reports.compare.match_records import match_images
from regionspot_evaluate.reports.compare.precision_curves import drawn_figures
from regionspot_evaluate.reports.compare.published import published_beside
from regionspot_evaluate.reports.compare.region_naming import naming_beside
from regionspot_evaluate.reports.compare.report import CompareReport, Figures, Kind, Row
from regionspot_evaluate.reports.compare.resampling import draw_halves
from regionspot_evaluate.reports.compare.rows import find_rows
from regionspot_evaluate.scoring.figures import PROTOCOL_TITLES
from regionspot_evaluate.scoring.results import read_results
from regionspot_evaluate.scoring.scored_images import evaluated_images
from regionspot_evaluate.scoring.selection import kept_detections
from regionspot_evaluate.scoring.table_scorer import TableScorer


def run_comparison(config: CompareConfig) -> CompareReport:
    """Score every results file, with intervals, and write the JSON that is asked for.

    Raises:
        InputError: If a run is not there, two rows have one name or no image in common, published
            figures are asked for and none are of these images, or ``json_file`` is no place for a
            file.
        AnnotationError: If the annotations or some detections are malformed.
    """
    if config.json_file is not None:
        require_place_for_file(config.json_file, option="--json")
    files = find_rows(config.runs)
    table = read_table(config.annotations, masks="segm" in config.iou)
    table = evaluated_images([*files.values()], table)
    protocols = None if config.protocol is None else (config.protocol,)
    scorer = TableScorer(table, protocols=protocols, ious=config.iou)
    (protocol,) = scorer.plan.protocols
    published = published_beside(scorer.truth, protocol) if config.published else ()
    images = len(scorer.truth.image_id)
    halves_NI = draw_halves(images, times=config.bootstrap, seed=config.seed)
    rows = {}
    with progress_line("compare", total=len(files), unit="rows") as advance:
        for name, path in files.items():
            rows[name] = _row(config, scorer, path, halves_NI)
            advance(1)
    report = CompareReport(config, scorer.plan, rows, images, published)
    if config.json_file is not None:
        write_json(config.json_file, report.to_json())
    return report


def _row(
    config: CompareConfig, scorer: TableScorer, path: Path, halves_NI: NDArray[np.uint8]
) -> Row:
    results = read_results(path, scorer.truth, ious=config.iou)
    ((protocol, scores),) = scorer.score(results).items()
    figures: dict[Kind, Figures] = {iou: Figures(scores[iou].values, {}) for iou in config.iou}
    # What hotcoco cannot match as LVIS's API does has no intervals, nor have rules that are not
    # matched here, and the report says so.
    matched = protocol in PROTOCOL_TITLES and not any(score.fallback for score in scores.values())
    if config.bootstrap and matched:
        kept = kept_detections(results, protocol)
        for iou in config.iou:
            records = match_images(scorer.truth, results, kept, iou=iou)
            figures[iou] = Figures(scores[iou].values, drawn_figures(records, halves_NI))
    naming = naming_beside(path, scorer.truth)
    if naming is not None:
        draws = naming.drawn_figures(halves_NI) if config.bootstrap else {}
        figures["regions"] = Figures(naming.figures(), draws)
    return Row(path, scores, figures)
