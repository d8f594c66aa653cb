"""A CVAT auto-annotation function: a head labels the pictures of a CVAT task.

    cvat-cli task auto-annotate 7 --function-module regionspot_app.adapters.cvat \
      -p head=str:run -p names=str:cat,dog

It follows the interface that CVAT publishes as ``cvat_sdk.auto_annotation``: a module with
``create``, which returns an object with ``spec`` and ``detect``. `pip install cvat-cli` has both.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any

import cvat_sdk.auto_annotation as cvataa
import cvat_sdk.masks
import numpy as np
from cvat_sdk import models
from PIL import Image
from pycocotools import mask as rle_codec

from regionspot_app.config import AppConfig
from regionspot_app.workbench.workbench import Workbench
from regionspot_evaluate.commands.models import with_models_of_head


class Function:
    """What CVAT asks: the labels, and the shapes in a picture.

    Args:
        bench: The models.
        masks: Whether shapes are masks; else they are rectangles.
    """

    def __init__(self, bench: Workbench, *, masks: bool) -> None:
        self._bench = bench
        self._masks = masks

    @property
    def spec(self) -> cvataa.DetectionFunctionSpec:
        """Return the labels, numbered from 0 in the order of the names."""
        labels = [cvataa.label_spec(name, number) for number, name in enumerate(self._bench.names)]
        return cvataa.DetectionFunctionSpec(labels=labels)

    def detect(
        self, context: cvataa.DetectionFunctionContext, image: Image.Image
    ) -> list[models.LabeledShapeRequest]:
        """Return a shape for each region that SAM finds, with the head's best name for it.

        Args:
            context: CVAT's; regions less sure than its ``conf_threshold`` are left out.
            image: The picture.
        """
        file = BytesIO()
        image.convert("RGB").save(file, format="PNG", compress_level=1)
        _, opened = self._bench.open_file(file.getvalue())
        regions = [region for _, region in self._bench.everything(opened)]
        (found, *_) = self._bench.classify(opened, regions, None)
        if not regions:
            return []
        least = context.conf_threshold or 0.0
        best = found.probabilities.argmax(axis=1)
        return [
            self._shape(int(k), found.boxes[r].tolist(), found.masks[r])
            for r, k in enumerate(best)
            if found.probabilities[r, k] >= least
        ]

    def _shape(
        self, label: int, box: list[float], mask: dict[str, Any]
    ) -> models.LabeledShapeRequest:
        if not self._masks:
            return cvataa.rectangle(label, box)
        pixels = rle_codec.decode({**mask, "counts": mask["counts"].encode("ascii")}).astype(bool)
        if not pixels.any():
            return cvataa.rectangle(label, box)
        rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
        around = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        return cvataa.mask(label, cvat_sdk.masks.encode_mask(pixels, list(map(int, around))))


def create(
    head: str | None = None,
    names: str | None = None,
    *,
    masks: bool = False,
    device: str = "auto",
) -> Function:
    """Load a head, as ``cvat-cli`` asks for with ``-p``.

    Args:
        head: The head's folder; None: the packaged one, which knows the demo's world.
        names: Class names with commas between; None: those that the head learnt.
        masks: Whether shapes are masks; else they are rectangles.
        device: As `regionspot app --device`.

    Raises:
        RegionSpotError: If the head cannot be read, or its models are not there.
    """
    values: dict[str, Any] = {"names": names, "backbones": {"device": device}}
    values |= {} if head is None else {"heads": [head]}
    values = {key: value for key, value in values.items() if value is not None}
    config = AppConfig.parse(values, source="regionspot_app.adapters.cvat")
    values = with_models_of_head(values, config.served_heads[0])
    return Function(
        Workbench.load(AppConfig.parse(values, source="regionspot_app.adapters.cvat")), masks=masks
    )
