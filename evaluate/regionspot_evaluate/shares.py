"""One evaluation by several processes, each of which names a share of the images.

What a share has done lies in the folder of the run, which all processes must reach, as they must
the images; so a process that dies costs one batch, and the next one goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial

from regionspot_core.distributed.launchers import choose_launcher
from regionspot_core.distributed.shares import Job, Launcher, Worker
from regionspot_core.distributed.torchrun import own_share, torchrun
from regionspot_core.errors import ClusterError, ConfigError
from regionspot_evaluate.config import EvaluateConfig
from regionspot_evaluate.reports.printing import EvaluationReport
from regionspot_evaluate.run import prepare_evaluation, run_evaluations, run_share


def require_one_process(config: EvaluateConfig) -> None:
    """Refuse to do a given share of the images where several processes share all of them.

    Raises:
        ConfigError: If there are several processes.
    """
    count = own_share().of
    if count > 1 or config.engine == "ray":
        processes = "workers of Ray" if config.engine == "ray" else f"torchrun's {count} processes"
        raise ConfigError(
            f"--shard {config.shard.index}/{config.shard.of}: expected one process, and "
            f"{processes} share the images out themselves; leave --shard out"
        )


def evaluate_together(
    config: EvaluateConfig, *, launcher: Launcher | None = None
) -> dict[str, EvaluationReport] | None:
    """Evaluate as :func:`run_evaluations`, in several processes where they are asked for.

    Args:
        config: The configuration of the evaluation.
        launcher: Has several processes name the images, instead of what ``config`` names.

    Returns:
        The figures of each head; None in those of torchrun's processes that are not the first.

    Raises:
        InputError: As :func:`run_evaluations`, or if Ray is not installed.
        ClusterError: If no cluster answers, a worker died again and again, or what the workers
            wrote is not to be seen here.
    """
    device = config.backbones.device
    launcher = launcher or choose_launcher(config.engine, config.ray, device) or torchrun(device)
    if launcher is None:
        return run_evaluations(config)
    prepared = cache(lambda: prepare_evaluation(config))
    launcher.run(
        Job(
            "evaluate",
            run=partial(_run_share, config),
            amount=lambda: prepared().amount(),
            reason_to_stop=_reason_to_stop,
        )
    )
    if not launcher.is_main:
        return None
    # Images that failed were tried again by the workers.
    evaluation = replace(prepared(), config=config.model_copy(update={"retry_failed": False}))
    left = evaluation.amount().left
    if left:
        raise ClusterError(
            f"{config.out}: the workers named all images, and of {left:,} nothing is to be "
            f"seen here; it must be on a disk that all machines of the cluster share"
        )
    evaluation.name_images()
    return evaluation.score()


def _run_share(config: EvaluateConfig, worker: Worker) -> None:
    """Name the images of a worker's share."""
    models = config.backbones.on_device(worker.device)
    run_share(
        config.model_copy(update={"shard": worker.share, "backbones": models}), show=worker.show
    )


def _reason_to_stop(items: Sequence[int], deaths: int, reason: str) -> str:
    return (
        f"a share of the images was stopped: {deaths} workers died of it ({reason}). Give a "
        f"smaller --batch if it was memory; the same command then goes on"
    )
