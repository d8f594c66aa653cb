"""An evaluation's shares done by workers on a Ray cluster, each a task with the models in it.

What a share has done lies in the folder of the run, which all machines must reach, as they must the
images; so a worker that dies costs one batch, and the next one goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
import torch
from ray.exceptions import RayError, RayTaskError

from regionspot_core.distributed.ray import connected, first_words, require_answer
from regionspot_core.distributed.ray_crew import Crew, cluster_nodes, models_anywhere
from regionspot_core.distributed.shard import Shard
from regionspot_core.errors import ClusterError, RegionSpotError
from regionspot_core.support.progress import Advance, progress_line
from regionspot_evaluate.config import EvaluateConfig
from regionspot_evaluate.run import images_done, run_share

TRIES = 3
"""How often the worker of a share may die."""
LOOK_SECONDS = 1.0
"""Between two looks at how far the shares are."""


def do_shares(config: EvaluateConfig) -> None:
    """Name all images that are not named yet: a share a worker, and workers to fill the cluster.

    Raises:
        ClusterError: No cluster answers, a worker died again and again, or what the workers wrote
            is not to be seen here.
        RegionSpotError: As of a share here.
    """
    require_answer(config.ray.address)
    done, total = images_done(config)
    if done == total:
        return
    with (
        connected(config.ray.address),
        progress_line("evaluate", total=total, unit="images", start=done) as advance,
    ):
        crew = Crew.plan(
            config.ray,
            cluster_nodes(),
            device=config.backbones.device,
            threads=torch.get_num_threads(),
        )
        _work(anywhere(config, on_gpu=crew.gpus > 0), crew, advance)
    done, total = images_done(config.model_copy(update={"retry_failed": False}))
    if done < total:
        raise ClusterError(
            f"{config.out}: the workers named all images, and of {total - done:,} nothing is to be "
            f"seen here; it must be on a disk that all machines of the cluster share"
        )


def anywhere(config: EvaluateConfig, *, on_gpu: bool) -> EvaluateConfig:
    """The configuration with paths that do not depend on the working folder."""
    models = models_anywhere(config.backbones, on_gpu=on_gpu)
    return config.with_absolute_paths().model_copy(update={"backbones": models})


def _work(config: EvaluateConfig, crew: Crew, advance: Advance) -> None:
    counter = ray.remote(_Counter).options(num_cpus=0).remote()
    worker = ray.remote(_do_share).options(
        num_cpus=crew.cpus,
        num_gpus=crew.gpus,
        max_retries=TRIES - 1,
        retry_exceptions=False,
        scheduling_strategy="SPREAD",
    )
    shares = [Shard(index=index + 1, of=crew.actors) for index in range(crew.actors)]
    left = [
        worker.remote(config.model_copy(update={"shard": share}), crew.threads, counter)
        for share in shares
    ]
    seen = 0
    try:
        while left:
            ended, left = ray.wait(left, timeout=LOOK_SECONDS)
            ray.get(ended)
            count = ray.get(counter.read.remote())
            advance(count - seen)
            seen = count
    except RayTaskError as error:
        # Its own exception, as if raised here; a fault of ours keeps the worker's traceback.
        if isinstance(error.cause, (RegionSpotError, OSError)):
            raise error.cause from None
        raise
    except RayError as error:
        raise ClusterError(
            f"a share of the images was stopped: {TRIES} workers died of it "
            f"({first_words(error)}). Give a smaller --batch if it was memory; the same command "
            f"then goes on"
        ) from None


class _Counter:
    """How many images all shares together have done."""

    def __init__(self) -> None:
        self._count = 0

    def add(self, count: int) -> None:
        self._count += count

    def read(self) -> int:
        return self._count


def _do_share(config: EvaluateConfig, threads: int, counter: Any) -> None:  # noqa: ANN401
    """One share, on a machine of the cluster."""
    torch.set_num_threads(threads)  # their number may decide the last bit of a score

    @contextmanager
    def show(what: str, *, total: int, unit: str, start: int = 0) -> Iterator[Advance]:
        yield lambda amount=1, note="": counter.add.remote(amount)

    run_share(config, show=show)
