"""A sweep: many heads tried on the same batches, each batch read once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from regionspot_core.cache.location import Location
from regionspot_core.support.progress import progress_line
from regionspot_core.support.stopping import stop_request
from regionspot_train.by_size import announce, repetition_warning
from regionspot_train.config import TrainConfig
from regionspot_train.processes import require_alone
from regionspot_train.record.claim import claimed
from regionspot_train.record.facts import run_facts
from regionspot_train.record.folder import RunFolder
from regionspot_train.sweep.group import GroupInputs, SweepTask, learn_group
from regionspot_train.sweep.report import SweepReport, write_results
from regionspot_train.sweep.slots import remove_checkpoints, trial_folder
from regionspot_train.sweep.space import Space, SweepSize
from regionspot_train.sweep.study import Study


def run_sweep(
    config: TrainConfig,
    space: Space,
    *,
    store: Location | Sequence[Location],
    validate_on: Location | None = None,
    out: Path,
    trials: int,
    at_once: int = 16,
    stacked: bool = False,
    resume: bool = False,
    ray_groups: int | None = None,
    ray_address: str | None = None,
    pictured: bool = True,
) -> SweepReport:
    """Try heads of a space, ``at_once`` of them learning from each batch that is read.

    Each head learns what ``regionspot train fit`` with its settings would: its folder in ``trials``
    may be given there as ``--config``. SIGTERM and SIGINT end the sweep with a checkpoint of each
    head.

    Args:
        config: Settings that all heads share.
        space: Settings that they differ in.
        store: The feature cache, or several of the same backbones.
        validate_on: The cache whose regions say how good a head is; None: the images that
            ``data.split`` holds out do.
        out: The sweep's folder.
        trials: Number of heads in all.
        at_once: Number of heads of each group that learn at one time.
        stacked: Whether heads of one shape without dropout are computed as one.
        resume: Go on with the sweep in ``out``, if there is one, its heads where they were.
        ray_groups: Number of groups on a Ray cluster, each with a read of its own; None: one
            group, in this process.
        ray_address: Address of the cluster; None: the one that runs here or in RAY_ADDRESS.
        pictured: Whether the sweep and its best head are drawn at the end.

    Raises:
        CacheError: If a cache is missing, unfinished, or has no regions.
        CheckpointError: If ``out`` already holds a sweep, and it is not to be resumed, or another
            process has it.
        ClusterError: If the Ray cluster does not answer, or its workers die again and again.
        ConfigError: If the space has values that no head takes, or the caches lack what the
            settings need.
        FingerprintError: If the sweep in ``out`` has other settings or data, or the caches are of
            different backbones.
        InputError: If ``out`` holds something that is not a sweep, or its study is damaged or not
            one of ours.
    """
    require_alone()
    size = SweepSize.parse(
        {"trials": trials, "at_once": at_once, "ray_groups": ray_groups}, source="train sweep"
    )
    space.require_allowed(config)
    task = SweepTask(config, store, validate_on, out, at_once, stacked, ray_groups or 1)
    inputs = GroupInputs.open(task)
    announce(repetition_warning(config, sum(len(each.images) for each in inputs.sources)))
    announce(inputs.validation.note)
    facts = run_facts(inputs.sources, inputs.device)
    with claimed(out, resume=resume, sweep=True):
        RunFolder(out, _identity(config, space, inputs), facts, resume=resume)
        study = Study(out, space, size.trials)
        for trial in study.trials():  # a killed sweep may have left some of heads that had ended
            if trial.state.is_finished():
                remove_checkpoints(trial_folder(out, trial.number))
        began = time.perf_counter()
        with (
            stop_request() as stop,
            progress_line("sweep", total=trials, unit="heads", start=study.ended()) as advance,
        ):

            def stopping() -> bool:
                return stop.signal is not None

            def on_ended(count: int) -> None:
                advance(count, _note(study) if count else "")

            if ray_groups is None:
                share = learn_group(task, inputs, study, stopping=stopping, on_ended=on_ended)
            else:
                from regionspot_train.sweep.cluster import learn_groups

                share = learn_groups(
                    task, study, address=ray_address, stopping=stopping, on_ended=on_ended
                )
        return write_results(
            study,
            out,
            space,
            seconds=time.perf_counter() - began,
            waiting_share=share,
            stopped=None if stop.signal is None else stop.exit_code,
            pictured=pictured,
        )


def _identity(config: TrainConfig, space: Space, inputs: GroupInputs) -> dict[str, object]:
    """Return the settings and data by which ``run.json`` knows a sweep that is resumed."""
    sources = inputs.sources
    datasets = {str(n): each.cache.fingerprint["dataset"] for n, each in enumerate(sources)}
    return {
        "config": config.to_json(),
        "space": space.to_json(),
        "data": {"backbones": sources[0].cache.fingerprint["backbones"], "datasets": datasets},
        "validation": inputs.validation.data,
    }


def _note(study: Study) -> str:
    best = study.best()
    return "" if best is None else f"best {best:.2%}"
