"""A training run: cached features in, a head out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing, nullcontext
from pathlib import Path

from regionspot_core.cache.location import Location
from regionspot_core.support.progress import no_progress_line, progress_line, say
from regionspot_core.support.stopping import stop_request
from regionspot_train.by_size import announce, repetition_warning
from regionspot_train.config import TrainConfig
from regionspot_train.data.loader import FeatureLoader
from regionspot_train.data.sources import open_sources
from regionspot_train.learning.validation import open_validation
from regionspot_train.processes import joined, local_device
from regionspot_train.record.claim import claimed
from regionspot_train.training_run import TrainingRun, TrainReport


def run_training(
    config: TrainConfig,
    *,
    store: Location | Sequence[Location],
    out: Path,
    validate_on: Location | None = None,
    resume: bool = False,
    start_from: Path | None = None,
    pictured: bool = True,
) -> TrainReport:
    """Train a head on caches and write it, its record, log and curve into ``out``.

    SIGTERM and SIGINT end it after the step it is at, with a checkpoint. Under ``torchrun`` the
    processes share every batch, and the first of them writes.

    Args:
        config: The run's settings.
        store: The feature cache, or several of the same backbones.
        out: The run's folder.
        validate_on: A cache whose regions are named every few steps; the head that did it best is
            kept in ``best`` below ``out``. With ``data.split`` the held-out images are, and there
            is no such cache.
        resume: Go on with the run in ``out`` from its last checkpoint, if there is one: on a CPU to
            the same bits as a run that was never interrupted.
        start_from: The folder of a head to begin with instead of fresh weights.
        pictured: Whether the curve and the report are drawn at the end: most of a small run's time.

    Raises:
        CacheError: If a cache is missing, unfinished, or has no regions.
        CheckpointError: If ``out`` already holds a run, and it is not to be resumed, or cannot be,
            or another process has it; or the head to start from is of another shape.
        ConfigError: If the caches lack what the settings need, or there are both a split and
            another cache to validate on.
        FingerprintError: If the run in ``out`` has other settings or data, or the caches are of
            different backbones; the message names the fields.
        InputError: If ``out`` holds something that is not a run, or this machine has no such
            device.
    """
    sources = open_sources(store, config.data)
    announce(repetition_warning(config, sum(len(source.images) for source in sources)))
    device = local_device(config.device)
    validation = open_validation(config, sources, validate_on, device)
    announce(validation.note if validation is not None else None)
    with (
        joined(device) as processes,
        claimed(out, resume=resume) if processes.first else nullcontext(),
    ):
        run = TrainingRun(
            config,
            sources,
            out,
            device=device,
            processes=processes,
            validation=validation,
            resume=resume,
            start_from=start_from,
            pictured=pictured,
        )
        if processes.first and run.resumed:
            say(_resume_note(run))
        loader = FeatureLoader(sources, config, start_step=run.step, processes=processes)
        show = progress_line if processes.first else no_progress_line
        with (
            run,
            stop_request() as stop,
            show("train", total=config.steps, unit="steps", start=run.step) as advance,
            closing(run.meter.waiting(loader)) as batches,
        ):
            stopping = False
            while not (run.ended or stopping):
                run.learn(next(batches))
                run.validate_if_due()
                stopping = processes.any(stop.signal is not None)
                run.write(stopping=stopping)
                advance(1, run.note)
        return run.report(stopped=stop.exit_code if stopping else None)


def _resume_note(run: TrainingRun) -> str:
    if run.ended:
        return f"train: {run.out} is finished already"
    return f"train: going on after step {run.step:,}"
