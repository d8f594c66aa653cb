"""The three stages as functions: what `regionspot extract run`, `train fit`, `evaluate run` do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from regionspot_core.cache.location import Location
from regionspot_evaluate.config import EvaluateConfig
from regionspot_evaluate.recognition.choose_backbones import backbones_of_head
from regionspot_evaluate.reports.printing import EvaluationReport
from regionspot_evaluate.run import run_evaluation
from regionspot_extract.config import ExtractConfig
from regionspot_extract.run import ExtractionReport, run_extraction
from regionspot_train.by_size import announce, choose_settings
from regionspot_train.config import TrainConfig
from regionspot_train.run import run_training
from regionspot_train.training_run import TrainReport


def extract(config: ExtractConfig | Mapping[str, Any]) -> ExtractionReport:
    """Fill a store with the frozen models' tokens; called again after an interruption, go on.

    Args:
        config: The settings, or a mapping of them: images, annotations, out, ….

    Raises:
        RegionSpotError: If a setting is wrong, or the images or annotations cannot be read.
    """
    if not isinstance(config, ExtractConfig):
        config = ExtractConfig.parse(dict(config), source="regionspot.extract")
    return run_extraction(config)


def train(
    config: TrainConfig | Mapping[str, Any] | str | None = None,
    *,
    cache: Location | Sequence[Location],
    out: Path | str,
    val: Location | None = None,
    resume: bool = False,
    start_from: Path | str | None = None,
) -> TrainReport:
    """Train a head on stores and write it into the folder ``out``.

    Args:
        config: The settings, a mapping of them, or the name of a recipe, a TOML file or a run's
            folder to take them from; None: those that fit the data's size.
        cache: A store that :func:`extract` filled, or several.
        out: The run's folder, new or empty.
        val: A store to validate on; the best head is kept in ``best`` below ``out``.
        resume: Whether a run in ``out`` goes on from its last checkpoint.
        start_from: Folder of a head to begin with.

    Raises:
        RegionSpotError: If a setting is wrong, a store cannot be read, or ``out`` is taken.
    """
    if isinstance(config, str) or config is None:
        config, reason = choose_settings(config, [], cache)
        announce(reason)
    elif not isinstance(config, TrainConfig):
        config = TrainConfig.parse(dict(config), source="regionspot.train")
    return run_training(
        config,
        store=cache,
        out=Path(out),
        validate_on=val,
        resume=resume,
        start_from=None if start_from is None else Path(start_from),
    )


def evaluate(config: EvaluateConfig | Mapping[str, Any]) -> EvaluationReport:
    """Detect with a head on a data set's images, and score the detections.

    Args:
        config: The settings, or a mapping of them: images, annotations, heads, out, …. A mapping
            that names no frozen models takes those that the head's record names.

    Raises:
        RegionSpotError: If a setting is wrong, or the head, images or annotations cannot be read.
    """
    if not isinstance(config, EvaluateConfig):
        values = dict(config)
        models = dict(values.get("backbones", {}))
        sam, clip = models.pop("sam", None), models.pop("clip", None)
        first = Path((values.get("heads") or [""])[0])
        values["backbones"] = backbones_of_head(first, models, sam=sam, clip=clip)
        config = EvaluateConfig.parse(values, source="regionspot.evaluate")
    return run_evaluation(config)
