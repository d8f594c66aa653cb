"""What ``torchrun`` says to each of the processes that it starts; alone there is nothing to say."""

from __future__ import annotations

import os
from datetime import timedelta

from regionspot_core.distributed.shard import Shard
from regionspot_core.support.devices import best_device

PATIENCE = timedelta(days=20)
"""How long one may wait for the others. PyTorch's own half hour is less than shares may differ."""


def own_share() -> Shard:
    """Which of how many processes this is."""
    return Shard(
        index=int(os.environ.get("RANK", "0")) + 1, of=int(os.environ.get("WORLD_SIZE", "1"))
    )


def own_gpu(device: str) -> str:
    """``cuda``, and ``auto`` where there is one, become the GPU that is this process's."""
    chosen = best_device() if device == "auto" else device
    if chosen != "cuda":
        return device
    return f"cuda:{os.environ['LOCAL_RANK']}" if "LOCAL_RANK" in os.environ else chosen


def wait_for_all() -> None:
    """Go on once every process has come here. Where one dies, torchrun ends them all."""
    import torch.distributed as dist

    dist.init_process_group("gloo", timeout=PATIENCE)
    try:
        dist.barrier()
    finally:
        dist.destroy_process_group()
