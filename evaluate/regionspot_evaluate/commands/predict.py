"""`regionspot evaluate predict`."""

from __future__ import annotations

from typing import Any

from regionspot_core.support.options import takes
from regionspot_evaluate.commands.models import AS_RECORDED, with_models_of_head
from regionspot_evaluate.config import PredictConfig


@takes(PredictConfig, without=("backbones.compile",), unset=AS_RECORDED)
def predict(values: dict[str, Any]) -> None:
    """Name the regions of one image: a table, IMAGE.regions.json and IMAGE.regions.png.

    Without --box, --point or --mask, SAM finds the regions by itself. A
    probability is a share among the given names: where none of them fits,
    the nearest one is still the answer. Regions of one call are seen
    together, as in training, so it depends a little on the others.
    """
    PredictConfig.parse(values, source="regionspot evaluate predict")
    values = with_models_of_head(values, values["head"])
    config = PredictConfig.parse(values, source="regionspot evaluate predict")

    from regionspot_evaluate.predict import print_prediction, run_prediction

    print_prediction(config.image, run_prediction(config))
