"""Processes on a Ray cluster; one that dies is replaced.

Data never travel: all machines must reach them by the same paths. A worker works in the
folder of the process that launched it, so that paths may be relative.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from regionspot_core.distributed.ray_cluster import (
    Crew,
    RayOptions,
    cluster_nodes,
    connected,
    first_words,
    ray_errors_as_ours,
    require_answer,
    require_ray,
)
from regionspot_core.distributed.shares import (
    Event,
    Job,
    Ledger,
    Message,
    Shard,
    Worker,
    WorkerAddress,
    sending_progress,
    shown,
)
from regionspot_core.errors import ClusterError
from regionspot_core.support.progress import say

TRIES = 3
"""Workers that may die of one item, or one after another without progress."""
SEEN_SECONDS = 90.0
"""Longest delay of a shared folder's news: NFS keeps what a folder holds for 60 s by default."""
POLL_SECONDS = 1.0
"""Seconds between two polls of the workers."""
PATIENCE_POLLS = 30
"""Number of polls without news of a worker after which the run says what it waits for."""


class RayTasks:
    """Launches workers on a Ray cluster, by default as many as fill it.

    Args:
        options: Which cluster, and what a worker needs.
        device: ``auto``, ``cpu`` or ``cuda``.
        tries: Workers that may die of one item, or one after another without progress.
        patience: Seconds that a shared folder's news may be late.

    Raises:
        InputError: If Ray is not installed.
        ClusterError: If nothing answers at the cluster's address.
    """

    is_main = True

    def __init__(
        self,
        options: RayOptions,
        device: str,
        *,
        tries: int = TRIES,
        patience: float = SEEN_SECONDS,
    ) -> None:
        require_ray()
        require_answer(options.address)
        self.patience = patience
        self._options = options
        self._device = device
        self._tries = tries

    def run(self, job: Job) -> None:
        """See :class:`Launcher`."""
        amount = job.amount()
        if not amount.left:
            return
        with connected(self._options.address), shown(job, amount) as advance, ray_errors_as_ours():
            crew = Crew.plan(
                self._options,
                cluster_nodes(),
                device=self._device,
                threads=torch.get_num_threads(),
            )
            workers = min(crew.actors, job.most_workers)
            work = _Work(Ledger(job, advance), crew, workers, self._tries, self.patience)
            try:
                work.finish()
            finally:
                work.end()


@dataclass
class _Slot:
    """A worker's place in the crew; when the worker dies, another takes it."""

    worker: Worker
    actor: Any = None
    answer: Any = None
    """A reference of Ray's to the worker's next answer; None once it has done its work."""
    address: WorkerAddress | None = None
    """None before the worker has started."""
    deaths: int = 0
    """Workers that died here one after another without a message."""


class _Work:
    """A job that is running."""

    def __init__(
        self, ledger: Ledger, crew: Crew, workers: int, tries: int, patience: float
    ) -> None:
        self._ledger = ledger
        self._job = ledger.job
        self._crew = crew
        self._tries = tries
        self._deaths: Counter[int] = Counter()
        self._silent_polls = 0
        self._mailbox = on_this_machine(_Mailbox)
        # Named, since a machine whose driver fails would take the CPU, and days.
        device = "cuda" if crew.gpus else None
        self._slots = [
            _Slot(Worker(Shard(index=index + 1, of=workers), device, patience=patience))
            for index in range(workers)
        ]

    def finish(self) -> None:
        """Do the job."""
        import ray

        for slot in self._slots:
            self._start(slot)
        while asked := {slot.answer: slot for slot in self._slots if slot.answer is not None}:
            answers, _ = ray.wait(list(asked), timeout=POLL_SECONDS)
            self._receive()
            self._job.poll()
            for answer in answers:
                self._settle(asked[answer])

    def end(self) -> None:
        """End all workers."""
        import ray

        for slot in self._slots:
            if slot.answer is not None:
                ray.kill(slot.actor)
        ray.kill(self._mailbox)

    def _start(self, slot: _Slot) -> None:
        import ray

        options = {"num_cpus": self._crew.cpus, "num_gpus": self._crew.gpus, "max_restarts": 0}
        actor = ray.remote(_Process).options(**options, scheduling_strategy="SPREAD")
        slot.actor, slot.address = actor.remote(), None
        slot.answer = slot.actor.start.remote(Path.cwd(), self._crew.threads)

    def _settle(self, slot: _Slot) -> None:
        """Take a worker's answer: it has started, done its work, or died."""
        import ray
        from ray.exceptions import ObjectLostError, RayActorError

        try:
            answer = ray.get(slot.answer)
        except (RayActorError, ObjectLostError) as error:  # or its machine died, or was cut off
            self._replace(slot, error)
            return
        if slot.address is None:
            slot.address = answer
            number = self._slots.index(slot)
            slot.answer = slot.actor.work.remote(self._job.run, slot.worker, number, self._mailbox)
            return
        slot.answer = None
        ray.kill(slot.actor)  # another may wait for its room

    def _receive(self) -> None:
        """Take note of the messages since the last time."""
        import ray

        mail = ray.get(self._mailbox.take.remote())
        for number, message in mail:
            slot = self._slots[number]
            slot.deaths = 0
            self._ledger.note(number, message, slot.address)
        if mail or any(slot.address for slot in self._slots):
            self._silent_polls = 0
            return
        self._silent_polls += 1
        if self._silent_polls % PATIENCE_POLLS == 0:
            has = ray.cluster_resources()
            say(
                f"{self._job.name}: no worker has started yet; one takes {self._crew.cpus} CPUs "
                f"and {self._crew.gpus:g} GPUs of a cluster that has {has.get('CPU', 0):g} and "
                f"{has.get('GPU', 0):g}"
            )

    def _replace(self, slot: _Slot, error: Exception) -> None:
        """Start another worker for one that died, unless too many have died."""
        import ray

        self._receive()
        ray.kill(slot.actor)  # it may only be cut off
        items = tuple(self._ledger.underway.pop(self._slots.index(slot), ()))
        # Of several, nobody knows which one it died of: the next worker does each of them alone.
        self._deaths.update(items)
        slot.deaths += not items
        worst = max((self._deaths[item] for item in items), default=slot.deaths)
        if worst >= self._tries:
            blamed = [item for item in items if self._deaths[item] == worst]
            reason = self._job.reason_to_stop(blamed, self._tries, first_words(error))
            raise ClusterError(reason)
        at = f" at {self._job.item} {' or '.join(map(str, items))}" if items else ""
        where = f" {slot.address}" if slot.address else ""
        say(f"{self._job.name}: the worker{where} died{at}; starting another")
        slot.worker = replace(slot.worker, alone=items)
        self._start(slot)


class _Process:
    """A worker's process."""

    def start(self, folder: Path, threads: int) -> WorkerAddress:
        """Go to the folder, if this machine has it, and set PyTorch's threads."""
        with suppress(OSError):
            os.chdir(folder)
        torch.set_num_threads(threads)  # their number may decide the last bit of a result
        return WorkerAddress.here()

    def work(
        self,
        run: Callable[[Worker], object],
        worker: Worker,
        number: int,
        mailbox: Any,  # noqa: ANN401 - a handle of Ray's
    ) -> None:
        """Do the job."""
        import ray

        def send(message: Message) -> None:
            sent = mailbox.put.remote(number, message)
            if message.event is not Event.ADVANCED:
                ray.get(sent)  # it must have arrived when the item kills this process

        run(replace(worker, send=send, show=sending_progress(send)))


class _Mailbox:
    """The messages of all workers until they are taken."""

    def __init__(self) -> None:
        self._mail: list[tuple[int, Message]] = []

    def put(self, number: int, message: Message) -> None:
        """Add a worker's message."""
        self._mail.append((number, message))

    def take(self) -> list[tuple[int, Message]]:
        """Return the messages since the last time."""
        mail, self._mail = self._mail, []
        return mail


def on_this_machine(kind: type, *arguments: object) -> Any:  # noqa: ANN401 - a handle of Ray's
    """Make an object in a process beside this one, where workers can call its methods."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(kind).options(num_cpus=0, scheduling_strategy=here).remote(*arguments)
