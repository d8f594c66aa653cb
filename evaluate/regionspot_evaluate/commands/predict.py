"""`regionspot evaluate predict`."""

from __future__ import annotations

from typing import Any

import typer

from regionspot_core.support.options import takes
from regionspot_evaluate.commands.models import AS_RECORDED, with_models_of_head
from regionspot_evaluate.config import PredictConfig


@takes(
    PredictConfig,
    without=("backbones.compile",),
    unset={**AS_RECORDED, "head": "one that knows the demo's world"},
)
def predict(values: dict[str, Any]) -> None:
    """Name the regions of pictures.

    Of one file: a table, NAME.regions.json and NAME.regions.png. Of several:
    predictions.json in COCO's layout; interrupted, the same command goes on.
    A picture that cannot be read is reported; the exit code is then 1.

    Without --box, --point, --mask or --proposals, SAM finds the regions by
    itself. A probability is a share among the given names, though none may fit;
    a head that `evaluate tune` gave a threshold then says none of these. Regions
    of one picture are seen together, as in training, so it depends a little on
    the others.
    """
    if "head" not in values:
        from regionspot_core.support.progress import say
        from regionspot_core.tiny.packaged_head import PACKAGED_HEAD

        say("evaluate: no --head, so the packaged one; it knows the demo's world and nothing else")
        values = {**values, "head": PACKAGED_HEAD}
    PredictConfig.parse(values, source="regionspot evaluate predict")
    values = with_models_of_head(values, values["head"])
    config = PredictConfig.parse(values, source="regionspot evaluate predict")

    from regionspot_evaluate.predict import run_prediction
    from regionspot_evaluate.predicting.summary import (
        PredictReport,
        print_prediction,
        print_predictions,
    )

    report = run_prediction(config)
    if isinstance(report, PredictReport):
        print_prediction(report)
        return
    print_predictions(report)
    if report.failed:
        raise typer.Exit(1)
