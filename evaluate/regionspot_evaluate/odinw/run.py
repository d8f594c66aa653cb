"""The story of `regionspot evaluate odinw`: an evaluation a set, the models loaded once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from regionspot_core.backbones.loading import Backbones, load_backbones
from regionspot_core.scoring.plan import COCO
from regionspot_core.support.files import require_folder_or_nothing, write_json
from regionspot_core.support.progress import say
from regionspot_evaluate.config import AUTOMATIC, GROUND_TRUTH, EvaluateConfig
from regionspot_evaluate.odinw.report import OdinwReport
from regionspot_evaluate.odinw.sets import OdinwSet, find_sets
from regionspot_evaluate.run import prepare_evaluation

FIGURES = "odinw.json"
SOURCE = "regionspot evaluate odinw"


def run_odinw(
    values: dict[str, Any], root: Path, split: str, *, backbones: Backbones | None = None
) -> OdinwReport:
    """Evaluate every data set below a folder, and write their figures and means.

    What an interrupted call has done is not done again: each set has a folder of `evaluate run`.

    Args:
        values: Settings of `evaluate run` for all sets, less images and annotations; ``out`` holds
            the sets' folders, ``proposals`` may be a folder with a file ``NAME.json`` a set.
        root: Folder with a folder for each set.
        split: ``valid``, ``test`` or ``train``.
        backbones: Loaded models to use instead of those ``values`` name.

    Raises:
        InputError: If there is no set, or an input file is wrong.
        FingerprintError: As `evaluate run`.
        CheckpointError: Likewise.
    """
    out = Path(values["out"])
    require_folder_or_nothing(out)
    sets = find_sets(root, split)
    # All are looked at before any model works: the last set's mistake shows at once.
    evaluations = {each.name: prepare_evaluation(set_config(values, each)) for each in sets}
    left = [evaluation for evaluation in evaluations.values() if evaluation.amount().left]
    if left and backbones is None:
        backbones = load_backbones(left[0].config.backbones)
    reports = {}
    for name, evaluation in evaluations.items():
        say(f"{name}:")
        evaluation.name_images(backbones)
        reports[name] = evaluation.score()
    report = OdinwReport(split, sets, reports)
    write_json(out / FIGURES, report.to_json())
    return report


def set_config(values: dict[str, Any], each: OdinwSet) -> EvaluateConfig:
    """Return the settings of `evaluate run` for one set: COCO's rules, a folder of its own."""
    own = each.name.replace("/", "_")
    proposals = values.get("proposals", GROUND_TRUTH)
    if proposals not in (GROUND_TRUTH, AUTOMATIC):
        proposals = str(Path(proposals) / f"{own}.json")
    return EvaluateConfig.parse(
        {
            **values,
            "images": each.images,
            "annotations": each.annotations,
            "out": Path(values["out"]) / own,
            "proposals": proposals,
            "protocol": COCO,
        },
        source=SOURCE,
    )
