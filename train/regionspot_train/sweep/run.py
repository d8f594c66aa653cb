"""The story of a sweep: many heads tried on the same batches, each batch read once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import torch

from regionspot_core.cache.store import Location
from regionspot_core.errors import ConfigError
from regionspot_core.progress import progress_line
from regionspot_core.stopping import stop_request
from regionspot_train.config import TrainConfig
from regionspot_train.loader import FeatureLoader
from regionspot_train.lockstep import Lockstep
from regionspot_train.meter import Meter
from regionspot_train.processes import local_device
from regionspot_train.run_folder import RunFolder
from regionspot_train.sources import Source, open_sources
from regionspot_train.sweep.places import Places, trial_folder
from regionspot_train.sweep.report import SweepReport, write_results
from regionspot_train.sweep.space import Space
from regionspot_train.sweep.study import Study, Trial
from regionspot_train.training_run import TrainingRun
from regionspot_train.validation import Validator


def run_sweep(
    config: TrainConfig,
    space: Space,
    *,
    store: Location | Sequence[Location],
    validate_on: Location,
    out: Path,
    trials: int,
    at_once: int = 16,
    stacked: bool = False,
    resume: bool = False,
) -> SweepReport:
    """Try heads of a space, ``at_once`` of them learning from each batch that is read.

    Each head learns what ``regionspot train fit`` with its settings would: its folder in ``trials``
    may be given there as ``--config``. SIGTERM and SIGINT end the sweep with a checkpoint of each
    head.

    Args:
        config: What all heads have in common.
        space: What they differ in.
        store: The feature cache, or several of the same backbones.
        validate_on: The cache whose regions say how good a head is.
        out: The sweep's folder.
        trials: How many heads are tried in all.
        at_once: How many learn at one time.
        stacked: Whether heads of one shape without dropout are computed as one.
        resume: Go on with the sweep in ``out``, if there is one, its heads where they were.

    Raises:
        CacheError: A cache is missing, unfinished, or has no regions.
        CheckpointError: ``out`` already holds a sweep, and it is not to be resumed.
        ConfigError: The space has values that no head takes, or the caches cannot give what is
            asked for.
        FingerprintError: The sweep in ``out`` was asked for something else, or the caches are of
            different backbones.
    """
    space.require_allowed(config)
    sources = open_sources(store, config.data)
    device = local_device(config.device)
    folder = SweepFolder(config, sources, validate_on, out, device)
    asked = {"config": config.to_json(), "space": space.to_json(), **folder.data}
    RunFolder(out, asked, resume=resume)
    study = Study(out, space)
    meter, began = Meter(device), time.perf_counter()
    places = Places(
        count=at_once,
        total=trials,
        study=study,
        open_run=folder.open_run,
        lockstep=Lockstep(device, stacked=stacked),
    )
    with (
        places,
        stop_request() as stop,
        progress_line("sweep", total=trials, unit="heads", start=places.ended) as advance,
    ):
        position = places.position(config.data.first_batch)
        start = position - config.data.first_batch
        loader = FeatureLoader(sources, config, start_step=start, endless=True)
        batches = iter(meter.waiting(loader))
        while places.fill(position) and stop.signal is None:
            ended = places.ended
            places.learn(position, next(batches))
            position += 1
            advance(places.ended - ended, places.note)
        if stop.signal is not None:
            places.checkpoint()
    return write_results(
        study,
        out,
        space,
        seconds=time.perf_counter() - began,
        waiting_share=meter.waiting_share,
        stopped=None if stop.signal is None else stop.exit_code,
    )


class SweepFolder:
    """Makes the training run of each head, in a folder of its own below the sweep's."""

    def __init__(
        self,
        config: TrainConfig,
        sources: Sequence[Source],
        validate_on: Location,
        out: Path,
        device: torch.device,
    ) -> None:
        self._config = config
        self._sources = sources
        self._validate_on = validate_on
        self._out = out
        self._device = device
        validator = self._validator()
        datasets = {str(n): each.cache.fingerprint["dataset"] for n, each in enumerate(sources)}
        self.data = {
            "data": {"backbones": sources[0].cache.fingerprint["backbones"], "datasets": datasets},
            "validation": validator.data,
        }

    def open_run(self, trial: Trial) -> TrainingRun:
        """A head's training, from its beginning or where an earlier call left it.

        Raises:
            ConfigError: Its settings do not go together.
        """
        return TrainingRun(
            trial_config(self._config, trial),
            self._sources,
            trial_folder(self._out, trial.number),
            device=self._device,
            validator=self._validator(),
            resume=True,
        )

    def _validator(self) -> Validator:
        return Validator(
            self._config.validation,
            self._validate_on,
            self._sources[0].cache.fingerprint["backbones"],
            batch_images=self._config.batch_images,
            device=self._device,
        )


def trial_config(config: TrainConfig, trial: Trial) -> TrainConfig:
    """What a head alone would be asked to learn what it learns in the sweep.

    Raises:
        ConfigError: Its settings do not go together.
    """
    order = config.seed if config.data.seed is None else config.data.seed
    shared = {"data.seed": order, "data.first_batch": trial.first_batch}
    try:
        return config.with_values({**trial.values, **shared})
    except ConfigError as error:
        raise ConfigError(f"head {trial.number}: {error}") from None
