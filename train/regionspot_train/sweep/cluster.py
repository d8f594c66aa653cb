"""Groups of heads on a Ray cluster. The study stays in the process that runs the sweep.

Each group is a task of Ray's with a GPU of its own where there are any, and reads the caches for
itself; caches and the sweep's folder must lie where all machines reach them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from regionspot_core.cache.location import Location
from regionspot_core.distributed.ray_cluster import (
    connected,
    first_words,
    require_answer,
    require_ray,
)
from regionspot_core.errors import ClusterError, RegionSpotError
from regionspot_train.sweep.group import GroupInputs, SweepTask, learn_group
from regionspot_train.sweep.space import Space
from regionspot_train.sweep.study import Study, Trial

TRIES = 3
"""Number of times that the worker of a group may die; its heads go on from their checkpoints."""
LOOK_SECONDS = 1.0
"""Time between two checks of whether a group has ended and whether to stop."""


class RemoteStudy:
    """A study that another process has, as a group uses it."""

    def __init__(self, actor: Any) -> None:  # noqa: ANN401 - a handle of Ray's
        self._actor = actor
        self._asked_last = 0.0
        self._stop = False

    def begun(self, group: int, groups: int) -> list[Trial]:
        """See :meth:`Study.begun`."""
        trials: list[Trial] = self._call("begun", group, groups)
        return trials

    def next_begins(self, group: int, groups: int, count: int) -> int:
        """See :meth:`Study.next_begins`."""
        position: int = self._call("next_begins", group, groups, count)
        return position

    def ask(self, first_batch: int, group: int) -> Trial | None:
        """See :meth:`Study.ask`."""
        trial: Trial | None = self._call("ask", first_batch, group)
        return trial

    def report(self, number: int, value: float, step: int) -> bool:
        """See :meth:`Study.report`."""
        given_up: bool = self._call("report", number, value, step)
        return given_up

    def finish(self, number: int, value: float) -> None:
        """See :meth:`Study.finish`."""
        self._call("finish", number, value)

    def prune(self, number: int) -> None:
        """See :meth:`Study.prune`."""
        self._call("prune", number)

    def fail(self, number: int, reason: str) -> None:
        """See :meth:`Study.fail`."""
        self._call("fail", number, reason)

    def stopping(self) -> bool:
        """Return whether the sweep is to stop; the keeper is asked once a second at most."""
        if time.monotonic() - self._asked_last > LOOK_SECONDS:
            self._stop = self._call("is_stopping")
            self._asked_last = time.monotonic()
        return self._stop

    def _call(self, name: str, *values: object) -> Any:  # noqa: ANN401 - what the study answers
        import ray

        return ray.get(getattr(self._actor, name).remote(*values))


class StudyKeeper(Study):
    """The study in a process that the groups can ask, beside its file."""

    def __init__(self, folder: Path, space: Space, total: int) -> None:
        super().__init__(folder, space, total)
        self._stop = False

    def stop(self) -> None:
        """Let every group stop."""
        self._stop = True

    def is_stopping(self) -> bool:
        """Return whether the groups are to stop."""
        return self._stop


def learn_groups(
    task: SweepTask,
    study: Study,
    *,
    address: str | None,
    stopping: Callable[[], bool],
    on_ended: Callable[[int], None],
) -> float:
    """Let the groups of a task learn, each on its own; as :func:`learn_group` otherwise.

    Returns:
        The mean share of the time that a group waited for data.

    Raises:
        ClusterError: If no cluster answers, or the worker of a group died again and again.
        RegionSpotError: If a group raises one, as :func:`learn_group` does.
    """
    require_ray()
    require_answer(address)
    import ray
    from ray.exceptions import RayError, RayTaskError

    task = with_absolute_paths(task)
    with connected(address):
        keeper = _keeper(task, study)
        group = ray.remote(_learn).options(
            num_cpus=1, num_gpus=_gpus(task), max_retries=TRIES, retry_exceptions=False
        )
        threads = torch.get_num_threads()
        left = [group.remote(task, number, keeper, threads) for number in range(task.groups)]
        ended, shares = study.ended(), []
        try:
            while left:
                done, left = ray.wait(left, timeout=LOOK_SECONDS)
                if stopping():
                    ray.get(keeper.stop.remote())
                now = study.ended()
                on_ended(now - ended)
                ended = now
                shares += ray.get(done)
        except RayTaskError as error:
            if isinstance(error.cause, RegionSpotError):
                raise error.cause from None
            raise
        except RayError as error:
            raise ClusterError(
                f"the worker of a group of heads died {TRIES + 1} times ({first_words(error)}); "
                f"with fewer --at-once it needs less memory, and --resume goes on"
            ) from None
    return sum(shares) / len(shares)


def with_absolute_paths(task: SweepTask) -> SweepTask:
    """Return the task with absolute paths, which every machine of the cluster understands."""
    several = [task.stores] if isinstance(task.stores, Location) else list(task.stores)
    return replace(
        task,
        stores=[_absolute(store) for store in several],
        validate_on=None if task.validate_on is None else _absolute(task.validate_on),
        out=task.out.absolute(),
    )


def _absolute(store: Location) -> Location:
    return store if "://" in str(store) else Path(store).absolute()


def _learn(task: SweepTask, number: int, keeper: Any, threads: int) -> float:  # noqa: ANN401
    """Train one group on a machine of the cluster."""
    torch.set_num_threads(threads)  # their number may decide the last bit of a weight
    study = RemoteStudy(keeper)
    inputs = GroupInputs.open(task)
    return learn_group(
        task, inputs, study, group=number, stopping=study.stopping, on_ended=lambda count: None
    )


def _keeper(task: SweepTask, study: Study) -> Any:  # noqa: ANN401 - a handle of Ray's
    """Start the keeper of the study beside its file: SQLite's locks fail over a network."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    keeper = ray.remote(StudyKeeper).options(num_cpus=0, scheduling_strategy=here)
    return keeper.remote(task.out, study.space, study.total)


def _gpus(task: SweepTask) -> int:
    """Return the number of GPUs of a group."""
    import ray

    has_any = ray.cluster_resources().get("GPU", 0) > 0
    return int(task.config.device != "cpu" and has_any)
