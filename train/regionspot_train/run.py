"""The story of a training run: cached features in, a head out."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import torch

from regionspot_core import __version__
from regionspot_core.cache.reader import FeatureCache
from regionspot_core.cache.store import Location
from regionspot_core.checkpoint import HeadRecord
from regionspot_core.errors import CacheError
from regionspot_core.progress import progress_line, say
from regionspot_core.stopping import stop_request
from regionspot_train.config import TrainConfig
from regionspot_train.learner import Learner
from regionspot_train.loader import FeatureLoader
from regionspot_train.meter import Meter
from regionspot_train.run_folder import RunFolder
from regionspot_train.run_log import RunLog
from regionspot_train.validation import Accuracy, Validator


@dataclass(frozen=True)
class TrainReport:
    """How a run ended."""

    steps: int
    resumed: int
    """Steps that were learnt before this call."""
    loss: float | None
    """Mean over the last logged steps; None where none were logged."""
    parameters: int
    seconds: float
    """Of this call."""
    best: Accuracy | None = None
    """The best validation of the run."""
    stopped: int | None = None
    """The exit code for a run that was asked to stop, and went on to its next checkpoint."""


def run_training(
    config: TrainConfig,
    *,
    store: Location,
    out: Path,
    validate_on: Location | None = None,
    resume: bool = False,
) -> TrainReport:
    """Train a head on the cache and write it, its record, log and curve into ``out``.

    SIGTERM and SIGINT end it after the step it is at, with a checkpoint.

    Args:
        config: What is asked.
        store: The feature cache.
        out: The run's folder.
        validate_on: A cache whose regions are named every few steps; the head that did it best is
            kept in ``best`` below ``out``.
        resume: Go on with the run in ``out`` from its last checkpoint, if there is one: on a CPU to
            the same bits as a run that was never interrupted.

    Raises:
        CacheError: A cache is missing, unfinished, or has no regions.
        CheckpointError: ``out`` already holds a run, and it is not to be resumed, or cannot be.
        FingerprintError: The run in ``out`` was asked for something else, or the caches are of
            different backbones; the fields are named.
    """
    cache = FeatureCache(store)
    _require_trainable(cache)
    device = _device(config.device)
    learner = Learner(config, cache, cache.class_bank(), device)
    validator = None
    if validate_on is not None:
        validator = Validator(
            config.validation,
            validate_on,
            cache.fingerprint["backbones"],
            batch_images=config.batch_images,
            device=device,
            region_tokens=config.head.region_tokens,
        )
    asked = {
        "config": config.to_json(),
        "data": {key: cache.fingerprint[key] for key in ("backbones", "dataset")},
        "validation": validator.data if validator else None,
    }
    folder = RunFolder(out, asked, resume=resume)
    meter, log = Meter(), RunLog(out)
    resumed = _restore(folder, learner, meter, log)
    if validator:
        validator.keep(out, resumed)
    loader = FeatureLoader(
        cache,
        batch_images=config.batch_images,
        seed=config.seed,
        steps=resumed if folder.finished else config.steps,
        start_step=resumed,
        reading=config.reading,
    )

    def record() -> HeadRecord:
        training = {
            "step": learner.step,
            "config": config.to_json(),
            "caches": [{"store": str(store), **cache.fingerprint["dataset"]}],
            "version": __version__,
        }
        return HeadRecord(learner.head.config, cache.fingerprint["backbones"], training)

    began = time.perf_counter()
    ended = folder.finished
    with (
        log,
        stop_request() as stop,
        progress_line("train", total=config.steps, unit="steps", start=resumed) as advance,
    ):
        for batch in meter.waiting(loader):
            learnt = learner.learn(batch)
            step = learner.step
            meter.add(learnt.loss, learnt.gradient_norm, batch)
            if validator and validator.due(step, config.steps):
                with meter.left_out():
                    if validator.validate(learner.head, step):
                        folder.save_best(learner.head, record())
                    validator.write(out)
            ended = step == config.steps or bool(validator and validator.patience_is_lost)
            if step % config.log_every == 0 or ended:
                log.write(meter.line(step, learnt.lr))
            advance(1, _note(log, validator))
            if ended:
                break
            if stop.signal is not None or step % config.checkpoint_every == 0:
                state = {"learner": learner.state(), "meter": meter.state()}
                folder.save(learner.head, record(), state, keep=config.keep_checkpoints)
            if stop.signal is not None:
                break
    if ended and not folder.finished:
        folder.finish(learner.head, record())
    return TrainReport(
        steps=learner.step,
        resumed=resumed,
        loss=log.lines[-1].loss if log.lines else None,
        parameters=learner.parameters,
        seconds=time.perf_counter() - began,
        best=validator.best if validator else None,
        stopped=None if ended else stop.exit_code,
    )


def _note(log: RunLog, validator: Validator | None) -> str:
    """What the progress line says behind its bar."""
    words = []
    if log.lines:
        last = log.lines[-1]
        words = [f"loss {last.loss:.3g}", f"{last.regions_per_second:,.0f} regions/s"]
        if last.waiting_share >= 0.05:
            words.append(f"{last.waiting_share:.0%} waiting for data")
    if validator and validator.history:
        words.append(f"top-1 {validator.history[-1].top1:.1%}")
    return ", ".join(words)


def _restore(folder: RunFolder, learner: Learner, meter: Meter, log: RunLog) -> int:
    """Bring everything to where the run in the folder was last; the steps it has learnt."""
    if folder.finished:
        learner.step = folder.finished_step()
        log.keep(learner.step)
        say(f"train: {folder.path} is finished already")
        return learner.step
    last = folder.latest()
    if last is not None:
        learner.restore(last.weights, last.state["learner"])
        meter.restore(last.state["meter"])
        say(f"train: going on after step {learner.step:,}")
    log.keep(learner.step)
    return learner.step


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def _require_trainable(cache: FeatureCache) -> None:
    if not (cache.region_counts > 0).any():
        raise CacheError(
            f"{cache.stores[0].store}: no image has a region, so there is nothing to learn from"
        )
