"""The processes that ``torchrun`` started: this one, by its environment, and those it waits for."""

from __future__ import annotations

import os
from datetime import timedelta

from regionspot_core.distributed.shares import Job, Shard, Worker
from regionspot_core.support.devices import best_device
from regionspot_core.support.progress import no_progress_line, progress_line

PATIENCE = timedelta(days=20)
"""Time that a rank may wait for the others: shares may differ by more than PyTorch's half hour."""


class Torchrun:
    """Has this process do its share, as the others do theirs; the first then goes on.

    Args:
        device: The one that was asked for, ``auto`` or PyTorch's name.
    """

    patience = 0.0

    def __init__(self, device: str) -> None:
        self._device = device
        self._share = own_share()
        self.is_main = self._share.index == 1

    def run(self, job: Job) -> None:
        """See :class:`Launcher`."""
        show = progress_line if self.is_main else no_progress_line
        job.run(Worker(share=self._share, device=own_gpu(self._device), show=show))
        wait_for_all()


def torchrun(device: str) -> Torchrun | None:
    """Return the launcher of a process that ``torchrun`` started with others; None of one alone."""
    return Torchrun(device) if own_share().of > 1 else None


def own_share() -> Shard:
    """Return which of how many processes this is."""
    return Shard(
        index=int(os.environ.get("RANK", "0")) + 1, of=int(os.environ.get("WORLD_SIZE", "1"))
    )


def own_gpu(device: str) -> str:
    """Return this process's own GPU for ``cuda``, and for ``auto`` where there is one."""
    chosen = best_device() if device == "auto" else device
    if chosen != "cuda":
        return device
    return f"cuda:{os.environ['LOCAL_RANK']}" if "LOCAL_RANK" in os.environ else chosen


def wait_for_all() -> None:
    """Wait until every process has come here. Where one dies, torchrun ends them all."""
    import torch.distributed as dist

    dist.init_process_group("gloo", timeout=PATIENCE)
    try:
        dist.barrier()
    finally:
        dist.destroy_process_group()
