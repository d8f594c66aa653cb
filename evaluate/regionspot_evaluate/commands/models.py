"""Frozen models of the commands that take a head: those that its record names, if nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_SHOWN = "as the head was trained"
AS_RECORDED = {"backbones.sam": _SHOWN, "backbones.clip": _SHOWN}
"""Options that may be left out, and what `--help` shows as their default."""


def with_models_of_head(values: dict[str, Any], head: Path) -> dict[str, Any]:
    """Return a configuration's values with the frozen models that a head was trained on.

    Raises:
        RegionSpotError: If the head cannot be read, or other models are asked for than it fits.
    """
    from regionspot_evaluate.recognition.choose_backbones import backbones_of_head

    models = dict(values["backbones"])
    sam, clip = models.pop("sam", None), models.pop("clip", None)
    return values | {"backbones": backbones_of_head(head, models, sam=sam, clip=clip)}
